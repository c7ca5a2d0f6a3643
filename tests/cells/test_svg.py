"""The light drawing of a cell: sound XML, every edge and state, nothing outside, its words in its label."""

import re
from xml.etree import ElementTree

import pytest

from nas.cells.genotype import Cell, Genotype
from nas.cells.svg import svg_of_cell
from tests.cells.test_graph import PUBLISHED, one_input, random_genotype


def check(genotype: Genotype, kind: str) -> ElementTree.Element:
    root = ElementTree.fromstring(svg_of_cell(genotype, kind))
    cell, width, height = genotype.cells[kind], int(root.attrib["width"]), int(root.attrib["height"])
    heads = root.findall(".//path[@class='head']")
    assert len(heads) == sum(map(len, cell.nodes)) + len(cell.concat)
    assert len(root.findall("text[@class='state']")) == len(cell.nodes) + cell.inputs + 1
    for path in root.iter("path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.attrib["d"])]
        assert all(0 <= x <= width for x in numbers[::2]) and all(0 <= y <= height for y in numbers[1::2])
    assert not any("id" in element.attrib for element in root.iter())
    return root


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells(name: str) -> None:
    for kind in PUBLISHED[name].cells:
        check(PUBLISHED[name], kind)


@pytest.mark.parametrize("seed", range(12))
def test_random_cells(seed: int) -> None:
    for genotype in (random_genotype(seed), one_input(seed)):
        for kind in genotype.cells:
            check(genotype, kind)


def test_what_the_label_says() -> None:
    cell = Cell(((('<"x">', 0), ("skip_connect", 1)),), (2,))
    root = check(Genotype(cell, cell), "reduce")
    assert root.attrib["aria-label"] == 'Reduction cell: <"x"> from c_k-2 to 0, skip from c_k-1 to 0'
    assert [text.text for text in root.findall("text")][:2] == ['<"x">', "skip"]
