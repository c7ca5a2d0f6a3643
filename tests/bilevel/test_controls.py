"""Random cells of a cost: counted and drawn as listing all cells does."""

from collections import Counter
from itertools import product

import pytest
import torch

from nas.amounts import Cost
from nas.bilevel.controls import Controls, Window
from nas.bilevel.derivation import EdgeCosts
from nas.cells.genotype import Genotype
from nas.space import CellSpace, load
from tests.bilevel.random_cells import random_costs
from tests.bilevel.test_derivation import THREE, every_cell

ONE = CellSpace("one", "", 1, {"none": {}, "skip_connect": {}, "conv_3x3": {}, "sep_conv_3x3": {}})


def every_genotype(space: CellSpace) -> list[Genotype]:
    cells = every_cell(space)
    return [Genotype(normal, reduce) for normal in cells for reduce in cells]


@pytest.mark.parametrize("seed", range(3))
def test_counts_are_those_of_all_cells(seed: int) -> None:
    costs = random_costs(THREE, torch.Generator().manual_seed(seed))
    controls, madds = Controls(costs), sorted(costs.of(each).madds for each in every_genotype(THREE))
    assert len(madds) == controls.count(0, madds[-1]) == 2304
    for low, high in ((madds[0], madds[0]), (madds[100], madds[900]), (madds[700] + 1, madds[800] - 1), (5, 4)):
        assert controls.count(low, high) == sum(low <= each <= high for each in madds)


def test_each_cell_of_a_window_is_as_likely() -> None:
    costs = random_costs(ONE, torch.Generator().manual_seed(0))
    controls, every = Controls(costs), every_genotype(ONE)
    window = Window(sorted(costs.of(each).madds for each in every)[40], 0.1, 0)
    low, high = window.bounds
    wanted = {each for each in every if low <= costs.of(each).madds <= high}
    assert 10 < len(wanted) < len(every) == 81
    draws = 200 * len(wanted)
    drawn = Counter(set_of(controls.draw(window, seed)) for seed in range(draws))
    assert drawn.keys() == {set_of(each) for each in wanted}
    chi_square = sum((count - 200) ** 2 / 200 for count in drawn.values())
    freedom = len(wanted) - 1
    assert abs(chi_square - freedom) < 4 * (2 * freedom) ** 0.5


def set_of(genotype: Genotype) -> tuple[object, ...]:
    """A genotype as what it is, whatever the order of a node's edges."""
    return tuple(tuple(map(frozenset, cell.nodes)) for cell in genotype.cells.values())


def test_drawn_again_it_is_the_same() -> None:
    space = load("darts+sandglass")
    controls = Controls(random_costs(space, torch.Generator().manual_seed(1)))
    window = controls.window(550)
    assert window is not None and window.tolerance == 0.03
    cells = [controls.draw(window, seed) for seed in range(8)]
    assert cells == [controls.draw(window, seed) for seed in range(8)] and len(set(cells)) == 8
    assert all(window.bounds[0] <= controls.costs.of(cell).madds <= window.bounds[1] for cell in cells)
    assert all(cell.ops.keys() <= {"sandglass_3x3", "sandglass_5x5"} for cell in cells)


def test_a_window_of_few_cells_is_widened_or_left_out() -> None:
    """Cells cost 1000 + 40 · (how many of the four edges are sep_conv_3x3): 16, 32, 24, 8 and 1 of the 81."""
    price = {"none": Cost(), "skip_connect": Cost(), "conv_3x3": Cost(), "sep_conv_3x3": Cost(40, 0)}
    costs = EdgeCosts(ONE, Cost(1000, 0), {kind: [price] * ONE.edges for kind in ONE.kinds})
    controls = Controls(costs)
    assert [controls.count(madds, madds) for madds in range(1000, 1161, 40)] == [16, 32, 24, 8, 1]
    assert controls.window(1040) == Window(1040, 0.03, 32)
    assert controls.window(1000) == Window(1000, 0.1, 16 + 32 + 24)
    assert controls.window(1160) == Window(1160, 0.1, 1 + 8 + 24)
    assert controls.window(1300) is None


def test_a_skeleton_with_one_cell_that_keeps_all_edges() -> None:
    space = load("nasbench201")
    price = {name: Cost(10 * (name not in ("none", "skip_connect")), 0) for name in space.ops}
    controls = Controls(EdgeCosts(space, Cost(100, 0), {kind: [price] * space.edges for kind in space.kinds}))
    sums = Counter(sum(price[name].madds for name in names) for names in product(space.ops, repeat=space.edges))
    assert all(controls.count(100 + cost, 100 + cost) == count for cost, count in sums.items())
    window = controls.window(120)
    assert window is not None and window.cells == sums[20]
    assert {controls.costs.of(controls.draw(window, seed)).madds for seed in range(20)} == {120}
