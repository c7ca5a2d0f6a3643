"""Budgets: read, filled closely and never exceeded, counted exactly, refused where nothing reaches them."""

import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import of_genotype
from nas.cells.genotype import from_text
from nas.costs.count import count
from nas.errors import UsageError
from nas.execution import Execution
from nas.macro.space import load
from nas.run.documents import as_json
from nas.run.documents import parse as parse_document
from nas.settings import TrainSettings, TuneSettings
from nas.tuning.budgets import GAP, Budgets, Rejection
from nas.tuning.space import FamilySpace, GenotypeSpace, Restriction, family_space, genotype_space
from nas.tuning.spec import TuneSpec

IMAGE = (3, 32, 32)
SPACES = ("mobilenet_v2", "mobilenext", "hbonet", "asymmnet", "mobilenet_v3")
PAIRS = "[('sandglass_3x3', 0), ('asymmetric_3x3', 1)]"
CELL = from_text(f"Genotype(normal={PAIRS}, normal_concat=[2], reduce={PAIRS}, reduce_concat=[2])")


def restricted(name: str, restriction: Restriction) -> FamilySpace:
    space = load(name)
    return family_space(space.name, space.network, space.settings, space.knobs, restriction)


FAMILIES = {name: restricted(name, Restriction()) for name in SPACES}


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_filled_draw_lies_just_under_its_budget_exactly_counted(name: str, data: st.DataObject) -> None:
    budgets = Budgets(FAMILIES[name], IMAGE, 10)
    values = {knob.name: data.draw(st.sampled_from(knob.values)) for knob in budgets.space.knobs}
    budget = data.draw(st.integers(8_000_000, 60_000_000))
    try:
        point = budgets.fit(values, budget)
    except Rejection:
        return
    assert 0 <= point.gap(budget) <= GAP
    network = budgets.architecture(point.values)
    assert count(network.build_meta(), network.input).madds == point.madds <= budget


def test_nine_of_ten_budgets_are_filled_to_one_percent() -> None:
    stream = random.Random(0)
    gaps = []
    for space in FAMILIES.values():
        budgets = Budgets(space, IMAGE, 10)
        for _ in range(10):
            values = {knob.name: stream.choice(knob.values) for knob in space.knobs}
            budget = stream.randrange(10_000_000, 150_000_000)
            gaps.append(budgets.fit(values, budget).gap(budget))
    assert sorted(gaps)[int(0.9 * len(gaps))] <= 0.01


@pytest.mark.parametrize("name", ["mobilenext", "hbonet"])
def test_no_width_fits_better_than_the_one_that_is_found(name: str) -> None:
    space = FAMILIES[name]
    budgets = Budgets(space, IMAGE, 10)
    values = {knob.name: knob.values[7 % len(knob.values)] for knob in space.knobs}
    costs = [budgets.point({**values, "width": width}).madds for width in space.filler.values]
    assert name != "mobilenext" or any(after < before for before, after in pairwise(costs))
    for budget in range(min(costs), max(costs), (max(costs) - min(costs)) // 40):
        assert budgets._widest(values, budget).madds == max(cost for cost in costs if cost <= budget)


def test_a_budget_that_nothing_fills_is_refused_with_the_range() -> None:
    budgets = Budgets(FAMILIES["mobilenext"], IMAGE, 10)
    for budget in (3_000_000, 5_000_000_000):
        with pytest.raises(UsageError, match=r"it reaches \d\S*M to 1579\.46M"):
            budgets.check(budget)
    budgets.check(20_000_000)


def test_cap_refuses_only_what_nothing_fits_and_rejects_what_is_above() -> None:
    capped = restricted("mobilenet_v2", Restriction(fill=False))
    assert [knob.name for knob in capped.knobs] == ["width", "expansion", "resolution"]
    budgets = Budgets(capped, IMAGE, 10, fill=False)
    budgets.check(5_000_000_000)
    with pytest.raises(UsageError, match="fits it"):
        budgets.check(300_000)
    with pytest.raises(Rejection, match="above"):
        budgets.fit({"width": 1.0, "expansion": 6.0}, 80_000_000)
    assert budgets.fit({"width": 1.0, "expansion": 6.0}, 90_000_000).madds == 87_976_448


def test_budgets_count_at_another_resolution() -> None:
    budgets = Budgets(FAMILIES["mobilenet_v2"], IMAGE, 10, resolution=224)
    point = budgets.fit({"expansion": 6.0}, 100_000_000)
    network = budgets.architecture(point.values)
    assert network.stem == "cifar" and network.madds() < point.madds
    assert network.fitted((3, 224, 224), 10).madds() == point.madds


def test_fixed_and_free_knobs() -> None:
    one = restricted("hbonet", Restriction({"expansion": 2.0}, ["contraction"]))
    assert [knob.name for knob in one.knobs] == ["contraction"] and one.settings["expansion"] == 2.0
    for restriction, message in (
        (Restriction({}, ["depth"]), "--tune depth: .* has no such knob"),
        (Restriction({"contraction": 2}, ["contraction"]), "--tune contraction: --set fixes it"),
        (Restriction({}, ["width"]), "--tune width: .*--mode cap"),
        (Restriction({"width": 1.0}), "--set width: .*--mode cap"),
        (Restriction({"reduction": 2.0}), "no such setting"),
        (Restriction({"resolution": "half"}), "a share of the images' side"),
    ):
        with pytest.raises(UsageError, match=message):
            restricted("hbonet", restriction)


def test_a_specification_is_read_back_from_its_document() -> None:
    cell = genotype_space("cell", of_genotype(CELL, channels=8, cells=4), Restriction({"cells": 5}))
    spec = TuneSpec(
        execution=Execution("cpu", 1),
        settings=TrainSettings(),
        tune=TuneSettings(),
        spaces=(*FAMILIES.values(), cell),
        budgets=(10**6,),
        image=IMAGE,
        classes=10,
        parallel=2,
        cluster="local",
        gpus=0.5,
    )
    assert parse_document(json.dumps(as_json(spec)), TuneSpec, "settings.json") == spec


def test_the_specification_of_a_run_before_the_rebuild_is_read() -> None:
    text = (Path(__file__).parents[1] / "fixtures" / "begun" / "tune" / "settings.json").read_text()
    spec = parse_document(text, TuneSpec, "settings.json")
    (space,) = spec.spaces
    assert isinstance(space, GenotypeSpace) and space.base.kind == "cell" and space.filler.name == "channels"
    assert [knob.name for knob in space.knobs] == ["cells", "sandglass_3x3.t"]
    assert (spec.parallel, spec.cluster, spec.gpus, spec.budgets) == (None, None, None, (10**6,))
    engine = {"name": "ray", "workers": 3, "cluster": "10.0.0.1:6379", "gpus": 0.5}
    spec = parse_document(json.dumps({**json.loads(text), "engine": engine}), TuneSpec, "settings.json")
    assert (spec.parallel, spec.cluster, spec.gpus) == (3, "10.0.0.1:6379", 0.5)


def test_a_found_cell_is_filled_by_channels_and_tuned_by_its_blocks() -> None:
    cell = genotype_space("cell", of_genotype(CELL, channels=16, cells=3), Restriction())
    wanted = {"cells", "sandglass_3x3.t", "sandglass_3x3.identity", "asymmetric_3x3.t", "asymmetric_3x3.r"}
    assert {knob.name for knob in cell.knobs} == wanted | {"asymmetric_3x3.identity"}
    budgets = Budgets(cell, IMAGE, 10)
    values = {"cells": 3, "sandglass_3x3.t": 4.0, "asymmetric_3x3.t": 3.0, "asymmetric_3x3.r": 2.0}
    costs = [budgets.point({**values, "channels": channels}).madds for channels in range(30, 42)]
    assert costs == sorted(costs)
    point = budgets.fit(values, costs[5] + 1)
    assert point.values["channels"] == 35 and point.madds == costs[5]
    ops = budgets.architecture(point.values).body["genotype"]["ops"]
    assert ops["sandglass_3x3"]["t"] == 4.0 and ops["asymmetric_3x3"]["r"] == 2.0
    with pytest.raises(Rejection):
        budgets.fit({**values, "asymmetric_3x3.r": 3.0, "asymmetric_3x3.t": 1.0}, costs[5])


def test_resolution_is_a_share_of_the_side_and_wins_width() -> None:
    budgets = Budgets(FAMILIES["mobilenet_v2"], IMAGE, 10)
    full, small = (budgets.fit({"expansion": 6.0, "resolution": share}, 20_000_000) for share in (1.0, 0.75))
    assert budgets.architecture(small.values).input == (3, 24, 24)
    assert float(str(small.values["width"])) > float(str(full.values["width"]))
