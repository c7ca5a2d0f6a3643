"""The exact derivation: DARTS' own cell without limits, brute force with them, never above a limit."""

from itertools import combinations, pairwise, product
from math import log

import pytest
import torch
from torch import Tensor

from nas.amounts import Cost, Limits
from nas.bilevel.derivation import Option, derive_within, frontier, prune
from nas.cells.genotype import KINDS, Cell, Genotype
from nas.cells.supernet import derive
from nas.errors import UsageError
from nas.space import CellSpace, load
from tests.bilevel.random_cells import random_costs, random_strengths

THREE = CellSpace("three", "", 2, {"none": {}, "skip_connect": {}, "conv_3x3": {}})


@pytest.mark.parametrize("text", ["darts", "darts+ir+sandglass", "s2", "s4", "nasbench201"])
@pytest.mark.parametrize("levels", [None, 2, 4])
def test_without_limits_it_is_darts_own_cell(text: str, levels: int | None) -> None:
    space, stream = load(text), torch.Generator().manual_seed(0)
    for _ in range(4):
        strengths, costs = random_strengths(space, stream, levels), random_costs(space, stream)
        genotype, option = derive_within(strengths, costs, Limits())
        assert genotype == derive(space, strengths)
        assert genotype.ops == derive(space, strengths).ops
        assert costs.of(genotype) == option.cost


def every_cell(space: CellSpace) -> list[Cell]:
    names = [name for name in space.ops if name != "none"]
    nodes = [
        [
            tuple(zip(chosen, pair, strict=True))
            for pair in combinations(range(node + 2), 2)
            for chosen in product(names, repeat=2)
        ]
        for node in range(space.nodes)
    ]
    return [Cell(choice, tuple(range(2, space.nodes + 2))) for choice in product(*nodes)]


def log_strength(space: CellSpace, strengths: dict[str, Tensor], genotype: Genotype) -> float:
    names = list(space.ops)
    return sum(
        log(strengths[kind][space.edge_index(node, state), names.index(name)])
        for kind, cell in genotype.cells.items()
        for node, pairs in enumerate(cell.nodes)
        for name, state in pairs
    )


@pytest.mark.parametrize("limited", [("madds",), ("params",), ("madds", "params")])
def test_brute_force_agrees(limited: tuple[str, ...]) -> None:
    """All 48 × 48 pairs of cells, under limits from what costs least to what costs most."""
    stream = torch.Generator().manual_seed(1)
    strengths, costs = random_strengths(THREE, stream), random_costs(THREE, stream)
    cells = every_cell(THREE)
    everything = [Genotype(normal, reduce) for normal in cells for reduce in cells]
    assert len(everything) == 2304
    scored = [(log_strength(THREE, strengths, one), costs.of(one)) for one in everything]
    for share in (0.1, 0.3, 0.5, 0.7, 1.0):
        ranges = {name: sorted(getattr(cost, name) for _, cost in scored) for name in limited}
        limits = Limits(**{name: values[int(share * (len(values) - 1))] for name, values in ranges.items()})
        best = max(score for score, cost in scored if limits.allow(cost))
        genotype, option = derive_within(strengths, costs, limits)
        assert limits.allow(costs.of(genotype)) and costs.of(genotype) == option.cost
        assert option.log_strength == pytest.approx(best, abs=1e-9)
        assert log_strength(THREE, strengths, genotype) == pytest.approx(best, abs=1e-9)


def test_impossible_limits_name_the_least_cost() -> None:
    stream = torch.Generator().manual_seed(2)
    strengths, costs = random_strengths(THREE, stream), random_costs(THREE, stream)
    every = [costs.of(Genotype(normal, reduce)) for normal in every_cell(THREE) for reduce in every_cell(THREE)]
    madds, params = min(cost.madds for cost in every), min(cost.params for cost in every)
    with pytest.raises(UsageError, match=f"--max-madds.*the least possible is {madds:,} multiply-adds"):
        derive_within(strengths, costs, Limits(madds=madds - 1))
    with pytest.raises(UsageError, match=f"--max-params.*the least possible is {params:,} parameters"):
        derive_within(strengths, costs, Limits(params=params - 1))
    assert derive_within(strengths, costs, Limits(madds=madds))[1].cost.madds == madds
    within = min(cost.params for cost in every if cost.madds <= madds)
    assert within > params, "a case in which the limits can be kept, but not at once"
    with pytest.raises(UsageError, match=f"at once: the least possible within the first is {within:,} parameters"):
        derive_within(strengths, costs, Limits(madds, params))


def test_alphas_that_are_no_numbers_name_no_cell() -> None:
    strengths = {kind: torch.full((THREE.edges, len(THREE.ops)), torch.nan) for kind in KINDS}
    with pytest.raises(UsageError, match="smaller --lr"):
        derive_within(strengths, random_costs(THREE, torch.Generator()), Limits(madds=10))


def test_the_frontier_rises() -> None:
    space, stream = load("darts+sandglass"), torch.Generator().manual_seed(3)
    strengths, costs = random_strengths(space, stream), random_costs(space, stream)
    front = frontier(strengths, costs)
    assert len(front) > 20
    for better, cheaper in pairwise(front):
        assert better.score > cheaper.score and better.cost.madds > cheaper.cost.madds


def test_pruning_keeps_what_none_beats() -> None:
    stream = torch.Generator().manual_seed(4)
    for params in (False, True):
        values = torch.randint(0, 12, (60, 3), generator=stream).tolist()
        options = [Option(score, Cost(madds, own), ()) for score, madds, own in values]

        def beats(one: Option, other: Option, params: bool = params) -> bool:
            cheaper = one.cost.madds <= other.cost.madds and (not params or one.cost.params <= other.cost.params)
            return one.score >= other.score and cheaper

        def key(option: Option, params: bool = params) -> tuple[int, int, int]:
            return option.score, option.cost.madds, option.cost.params if params else 0

        wanted = {key(one) for one in options if not any(beats(two, one) and key(two) != key(one) for two in options)}
        kept = [key(one) for one in prune(options, params)]
        assert len(kept) == len(set(kept)) and set(kept) == wanted


def test_a_strength_of_zero_loses_to_any_other() -> None:
    strengths = {kind: torch.zeros(THREE.edges, len(THREE.ops)) for kind in KINDS}
    strengths["normal"][2, 2] = 1e-45
    costs = random_costs(THREE, torch.Generator().manual_seed(5))
    genotype, _ = derive_within(strengths, costs, Limits())
    assert genotype == derive(THREE, strengths) and genotype.normal.nodes[1][0] == ("conv_3x3", 0)
