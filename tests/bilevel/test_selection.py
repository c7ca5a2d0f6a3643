"""Selections by strengths alone: thresholds by hand, what is refused, the registry."""

from collections.abc import Sequence
from typing import get_args

import pytest
import torch
from torch import Tensor

from nas.amounts import Cost, Limits
from nas.bilevel.derivation import EdgeCosts, derive_within
from nas.bilevel.selection import SELECTIONS, Basis
from nas.cells.assembly import assemble, one_hot
from nas.cells.genotype import Genotype
from nas.cells.supernet import derive
from nas.errors import UsageError
from nas.presets import resolve_search
from nas.settings import SearchSettings, Selection
from nas.space import CellSpace
from tests.bilevel.random_cells import random_costs, random_strengths

SPACE = CellSpace("small", "", 3, {"none": {}, "skip_connect": {}, "conv_3x3": {}})


def basis(strengths: dict[str, Tensor], threshold: float = 0.85, limits: Limits = Limits()) -> Basis:  # noqa: B008
    def costs() -> EdgeCosts:
        return random_costs(SPACE, torch.Generator().manual_seed(0))

    def project() -> Genotype:
        raise NotImplementedError

    return Basis(SPACE, strengths, threshold, limits, costs, project)


def strengths_of(convolutions: Sequence[float]) -> dict[str, Tensor]:
    """Of the normal cell's edges by their ``conv_3x3``; the reduction cell is all 0.9."""
    normal = torch.zeros(SPACE.edges, 3)
    normal[:, 0], normal[:, 2] = 0.99, torch.tensor(convolutions)
    return {"normal": normal, "reduce": torch.full((SPACE.edges, 3), 0.9)}


def test_threshold_by_hand() -> None:
    """Node 0 keeps one edge; node 1 loses both and goes; node 2's strongest edge is from node 1: it goes with it."""
    strengths = strengths_of([0.9, 0.8, 0.1, 0.84, 0.2, 0.1, 0.1, 0.86, 0.95])
    genotype = SELECTIONS["threshold"](basis(strengths))
    assert genotype.normal.nodes == ((("conv_3x3", 0),), (), (("conv_3x3", 2),))
    assert genotype.normal.concat == (2, 4)
    assert genotype.reduce == derive(SPACE, strengths).reduce


def test_a_low_threshold_is_darts_own_cell() -> None:
    strengths = random_strengths(SPACE, torch.Generator().manual_seed(1))
    for threshold, name in ((1e-9, "threshold"), (0.85, "strongest")):
        assert SELECTIONS[name](basis(strengths, threshold)) == derive(SPACE, strengths)


def test_gdas_may_keep_two_operations_of_one_edge() -> None:
    strengths = strengths_of([0.5, 0.4, 0.5, 0.4, 0.3, 0.5, 0.4, 0.3, 0.2])
    strengths["normal"][0, 1], strengths["normal"][1, 1] = 0.45, 0.1
    normal = SELECTIONS["gdas"](basis(strengths)).normal
    assert normal.nodes[0] == (("conv_3x3", 0), ("skip_connect", 0))
    assert normal.nodes[1:] == derive(SPACE, strengths).normal.nodes[1:]
    assert derive(SPACE, strengths).normal.nodes[0] == (("conv_3x3", 0), ("conv_3x3", 1))


def test_a_cell_with_nothing_left() -> None:
    """The strongest edge that reads an input counts: what comes after it cannot stay alone."""
    strengths = strengths_of([0.3, 0.8, 0.1, 0.2, 0.9, 0.1, 0.1, 0.9, 0.95])
    with pytest.raises(UsageError, match=r"--threshold 0.85: .* normal cell .* from an input has 0.8$"):
        SELECTIONS["threshold"](basis(strengths))


def test_budget_keeps_the_limit() -> None:
    strengths = random_strengths(SPACE, torch.Generator().manual_seed(2))
    plain = basis(strengths).costs().of(derive(SPACE, strengths))
    limits = Limits(madds=(plain.madds * 3) // 4)
    genotype = SELECTIONS["budget"](basis(strengths, limits=limits))
    assert limits.allow(basis(strengths).costs().of(genotype)) and not limits.allow(plain)


def test_what_a_stage_dropped_comes_back_only_where_the_limit_needs_it() -> None:
    """The cheap operation of every edge has strength 0."""
    strengths, costs = strengths_of([0.5] * 9), {"none": Cost(), "skip_connect": Cost(1), "conv_3x3": Cost(10)}
    everywhere = EdgeCosts(SPACE, Cost(), {kind: [costs] * 9 for kind in SPACE.kinds})
    strengths["reduce"] = strengths["normal"]
    for limit, skips in ((120, 0), (119, 1), (12, 12)):
        genotype, option = derive_within(strengths, everywhere, Limits(madds=limit))
        names = [name for cell in genotype.cells.values() for pairs in cell.nodes for name, _ in pairs]
        assert names.count("skip_connect") == skips and option.cost.madds <= limit


def test_one_hot_is_the_cell() -> None:
    strengths = random_strengths(SPACE, torch.Generator().manual_seed(3))
    genotype = derive(SPACE, strengths)
    mixing = one_hot(SPACE, genotype)
    assert all(weights.sum() == 6 and set(weights.unique().tolist()) == {0.0, 1.0} for weights in mixing.values())
    assert mixing["normal"][SPACE.edge_index(2, genotype.normal.nodes[2][0][1])].sum() == 1
    assert assemble(SPACE, {kind: cell.nodes for kind, cell in genotype.cells.items()}) == genotype


@pytest.mark.parametrize("select", SELECTIONS)
def test_every_selection_is_a_setting(select: str) -> None:
    limit = "500M" if select == "budget" else None
    assert SearchSettings(select=select, max_madds=limit).select == select  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"select": "threshold", "max_madds": "1M"}, "--select threshold: a limit is kept by --select budget alone"),
        ({"select": "strongest", "max_params": "1M"}, "a limit is kept by --select budget alone"),
        ({"select": "threshold", "max_madds": "1M"}, "a limit is kept by --select budget alone"),
        ({"method": "darts-pt-blank", "select": "strongest"}, "the alphas would never learn"),
        ({"select": "budget"}, "needs --max-madds or --max-params"),
        ({"max_madds": "many"}, '--max-madds "many"'),
        ({"max_params": "0"}, '--max-params "0": it must be a number of parameters'),
        ({"relaxation": "path", "select": "perturbation"}, "no mixture to take an operation from"),
    ],
)
def test_what_does_not_go_together(changes: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        resolve_search("paper", changes)


@pytest.mark.parametrize("method", ["darts", "gdas", "fairdarts", "darts-pt"])
def test_a_limit_selects_by_budget(method: str) -> None:
    """Of any method."""
    settings = resolve_search("paper", {"method": method, "max_madds": "500M", "max_params": "3.3M"})
    assert settings.select == "budget" and settings.limits == Limits(500_000_000, 3_300_000)
    assert Cost(500_000_000, 3_300_001) and not settings.limits.allow(Cost(500_000_000, 3_300_001))


def test_settings_name_all_selections() -> None:
    assert list(SELECTIONS) == list(get_args(Selection))
