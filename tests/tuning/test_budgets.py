"""Budgets: read, filled closely and never exceeded, counted exactly, refused where nothing reaches them."""

import json
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas.architecture import of_genotype
from nas.cells.genotype import from_text
from nas.costs.count import count
from nas.errors import UsageError
from nas.macro.space import load
from nas.tuning.budget import GAP, Budgets, Counting, Rejected, parse, short
from nas.tuning.subject import Freedom, Subject, from_document, of_cell, of_space

IMAGE = (3, 32, 32)
SPACES = ("mobilenet_v2", "mobilenext", "hbonet", "asymmnet", "mobilenet_v3")
PAIRS = "[('sandglass_3x3', 0), ('asymmetric_3x3', 1)]"
CELL = from_text(f"Genotype(normal={PAIRS}, normal_concat=[2], reduce={PAIRS}, reduce_concat=[2])")
SUBJECTS: dict[str, Subject] = {name: of_space(load(name), Freedom()) for name in SPACES}


@pytest.mark.parametrize(("text", "value"), [("20M", 20_000_000), ("1.5G", 1_500_000_000), ("800k", 800_000), ("7", 7)])
def test_parse(text: str, value: int) -> None:
    assert parse(text) == value


@pytest.mark.parametrize("text", ["", "M", "-3M", "0", "20 MB", "nan", "1e6"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        parse(text)


def test_short_is_read_back() -> None:
    assert parse(short(12_345_678)) == 12_345_700 and short(20_000_000) == "20M"


@pytest.mark.parametrize("name", SPACES)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(data=st.data())
def test_a_filled_draw_lies_just_under_its_budget_exactly_counted(name: str, data: st.DataObject) -> None:
    subject, counting = SUBJECTS[name], Counting(IMAGE, 10)
    values = {knob.name: data.draw(st.sampled_from(knob.values)) for knob in subject.knobs}
    budget = data.draw(st.integers(8_000_000, 60_000_000))
    try:
        filled = Budgets(subject, counting, True).fit(values, budget)
    except Rejected:
        return
    assert 0 <= filled.gap(budget) <= GAP
    network = counting.architecture(subject, filled.values)
    assert count(network.build_meta(), network.input).madds == filled.madds <= budget


def test_nine_of_ten_budgets_are_filled_to_one_percent() -> None:
    stream = random.Random(0)
    gaps = []
    for subject in SUBJECTS.values():
        budgets = Budgets(subject, Counting(IMAGE, 10), True)
        for _ in range(10):
            values = {knob.name: stream.choice(knob.values) for knob in subject.knobs}
            budget = stream.randrange(10_000_000, 150_000_000)
            gaps.append(budgets.fit(values, budget).gap(budget))
    assert sorted(gaps)[int(0.9 * len(gaps))] <= 0.01


@pytest.mark.parametrize("name", ["mobilenext", "hbonet"])
def test_no_width_fits_better_than_the_one_that_is_found(name: str) -> None:
    subject = SUBJECTS[name]
    budgets = Budgets(subject, Counting(IMAGE, 10), True)
    values = {knob.name: knob.values[7 % len(knob.values)] for knob in subject.knobs}
    costs = [budgets.madds({**values, "width": width}) for width in subject.filler.values]
    assert name != "mobilenext" or any(after < before for before, after in pairwise(costs))
    for budget in range(min(costs), max(costs), (max(costs) - min(costs)) // 40):
        assert budgets._widest(values, budget).madds == max(cost for cost in costs if cost <= budget)


def test_a_budget_that_nothing_fills_is_refused_with_the_range() -> None:
    budgets = Budgets(SUBJECTS["mobilenext"], Counting(IMAGE, 10), True)
    for budget in (3_000_000, 5_000_000_000):
        with pytest.raises(UsageError, match=r"it reaches \d\S*M to 1579\.46M"):
            budgets.check(budget)
    budgets.check(20_000_000)


def test_cap_refuses_only_what_nothing_fits_and_rejects_what_is_above() -> None:
    capped = of_space(load("mobilenet_v2"), Freedom(filling=False))
    assert [knob.name for knob in capped.knobs] == ["width", "expansion", "resolution"]
    budgets = Budgets(capped, Counting(IMAGE, 10), False)
    budgets.check(5_000_000_000)
    with pytest.raises(UsageError, match="fits it"):
        budgets.check(300_000)
    with pytest.raises(Rejected, match="above"):
        budgets.fit({"width": 1.0, "expansion": 6.0}, 80_000_000)
    assert budgets.fit({"width": 1.0, "expansion": 6.0}, 90_000_000).madds == 87_976_448


def test_budgets_count_at_another_resolution() -> None:
    subject = SUBJECTS["mobilenet_v2"]
    filled = Budgets(subject, Counting(IMAGE, 10, 224), True).fit({"expansion": 6.0}, 100_000_000)
    network = Counting(IMAGE, 10).architecture(subject, filled.values)
    assert network.stem == "cifar" and network.madds() < filled.madds
    assert network.fitted((3, 224, 224), 10).madds() == filled.madds


def test_fixed_and_free_knobs() -> None:
    space = load("hbonet")
    one = of_space(space, Freedom({"expansion": 2.0}, ["contraction"]))
    assert [knob.name for knob in one.knobs] == ["contraction"] and one.settings["expansion"] == 2.0
    for freedom, said in (
        (Freedom({}, ["depth"]), "has no such knob"),
        (Freedom({"contraction": 2}, ["contraction"]), "fixes it"),
        (Freedom({}, ["width"]), "--mode cap"),
        (Freedom({"width": 1.0}), "--mode cap"),
        (Freedom({"reduction": 2.0}), "no such setting"),
    ):
        with pytest.raises(UsageError, match=said):
            of_space(space, freedom)


def test_a_subject_is_read_back_from_its_document() -> None:
    cell = of_cell("cell", of_genotype(CELL, channels=8, cells=4), Freedom({"cells": 5}))
    for subject in (*SUBJECTS.values(), cell):
        assert from_document(json.loads(json.dumps(subject.document()))) == subject


def test_a_found_cell_is_filled_by_channels_and_tuned_by_its_blocks() -> None:
    cell = of_cell("cell", of_genotype(CELL, channels=16, cells=3), Freedom())
    wanted = {"cells", "sandglass_3x3.t", "sandglass_3x3.identity", "asymmetric_3x3.t", "asymmetric_3x3.r"}
    assert {knob.name for knob in cell.knobs} == wanted | {"asymmetric_3x3.identity"}
    budgets = Budgets(cell, Counting(IMAGE, 10), True)
    values = {"cells": 3, "sandglass_3x3.t": 4.0, "asymmetric_3x3.t": 3.0, "asymmetric_3x3.r": 2.0}
    costs = [budgets.madds({**values, "channels": channels}) for channels in range(30, 42)]
    assert costs == sorted(costs)
    filled = budgets.fit(values, costs[5] + 1)
    assert filled.values["channels"] == 35 and filled.madds == costs[5]
    ops = Counting(IMAGE, 10).architecture(cell, filled.values).body["genotype"]["ops"]
    assert ops["sandglass_3x3"]["t"] == 4.0 and ops["asymmetric_3x3"]["r"] == 2.0
    with pytest.raises(Rejected):
        budgets.fit({**values, "asymmetric_3x3.r": 3.0, "asymmetric_3x3.t": 1.0}, costs[5])


def test_resolution_is_a_share_of_the_side_and_wins_width() -> None:
    subject, counting = SUBJECTS["mobilenet_v2"], Counting(IMAGE, 10)
    budgets = Budgets(subject, counting, True)
    full, small = (budgets.fit({"expansion": 6.0, "resolution": share}, 20_000_000) for share in (1.0, 0.75))
    assert counting.architecture(subject, small.values).input == (3, 24, 24)
    assert small.values["width"] > full.values["width"]
