"""What two cells have in common, as flags, text and picture."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.patches import FancyArrowPatch

from nas.cells.difference import shared_edges
from nas.cells.draw import figure
from nas.cells.genotype import Cell, Genotype, to_text
from tests.cells.test_draw import faults, patches_of
from tests.cells.test_graph import PUBLISHED, one_input, random_genotype

Nas = Callable[..., tuple[int, str, str]]
FIRST = Cell(((("sep_conv_3x3", 0), ("skip_connect", 1)), (("skip_connect", 0), ("skip_connect", 2))), (2, 3))
SECOND = Cell(((("skip_connect", 1), ("sep_conv_3x3", 1)), (("skip_connect", 0), ("skip_connect", 2))), (2, 3))
ONE, OTHER = Genotype(FIRST, FIRST), Genotype(SECOND, FIRST)


def test_the_order_of_a_node_does_not_count() -> None:
    assert shared_edges(ONE, OTHER) == {"normal": [False, True, True, True], "reduce": [True] * 4}
    assert shared_edges(OTHER, ONE)["normal"] == [True, False, True, True]


def test_a_state_read_twice_counts_twice() -> None:
    twice = Cell(((("skip_connect", 0), ("skip_connect", 0)),), (2,))
    once = Cell(((("skip_connect", 0), ("skip_connect", 1)),), (2,))
    assert shared_edges(Genotype(twice, twice), Genotype(once, once))["normal"] == [True, False]


def test_settings_count() -> None:
    cell = Cell(((("sandglass_3x3", 0),),), (2,))
    narrow, wide = (Genotype(cell, cell, {"sandglass_3x3": {"t": t}}) for t in (2, 6))
    assert shared_edges(narrow, wide)["normal"] == [False] and shared_edges(narrow, replace(narrow))["normal"] == [True]


def test_a_kind_that_only_one_has() -> None:
    assert not any(shared_edges(ONE, one_input(0))["reduce"])


@pytest.mark.parametrize("seed", range(8))
def test_pairs_are_drawn_clearly(seed: int) -> None:
    assert faults(figure(random_genotype(seed), random_genotype(seed + 1), ("one", "other"))) == []


def test_what_differs_is_not_grey() -> None:
    widths = [patch.get_linewidth() for patch in patches_of(figure(ONE, OTHER, ("a", "b")), FancyArrowPatch)]
    assert widths.count(1.2) == 2  # one edge a cell; the other two cells are the same


def test_the_command(nas: Nas, tmp_path: Path) -> None:
    for name, genotype in (("a", ONE), ("b", OTHER)):
        (tmp_path / f"{name}.txt").write_text(to_text(genotype))
    status, out, err = nas("show", "--diff", "a.txt", "b.txt")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[:3] == ["−  a", "+  b", "normal: 3 edges in both"]
    assert lines[3:6] == [
        "−  node 0  sep_conv_3x3(c_k-2)",
        "+  node 0  sep_conv_3x3(c_k-1)",
        "   node 0  skip_connect(c_k-1)",
    ]
    assert sum(line[0] in "−+" for line in lines[2:]) == 2
    for form in ("svg", "png"):
        assert nas("show", "--diff", "a.txt", "b.txt", "--to", form)[:2] == (0, f"a-b.{form}\n")
    assert nas("show", "--diff", "a.txt")[0] == nas("show", "a.txt", "b.txt")[0] == 2
    assert nas("show", "--diff", "a.txt", "b.txt", "--to", "dot")[0] == 2


def test_published_cells_differ() -> None:
    assert not all(shared_edges(PUBLISHED["DARTS_V1"], PUBLISHED["DARTS_V2"])["normal"])
