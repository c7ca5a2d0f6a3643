"""The picture of a genotype: nothing touches what it does not belong to, and the same cells give the same bytes."""

import itertools
import pathlib
import subprocess
import sys
from io import BytesIO
from xml.etree import ElementTree

import matplotlib
import pytest
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from nas.cells.draw import draw, figure
from nas.cells.genotype import Cell, Genotype
from nas.cells.layout import route
from nas.errors import UsageError
from tests.cells.test_graph import PUBLISHED, one_input, random_genotype, tricky


def texts_of(picture: Figure) -> list[Text]:
    parts = [*picture.texts, *itertools.chain.from_iterable(axes.texts for axes in picture.axes)]
    return [*parts, *itertools.chain.from_iterable(legend.get_texts() for legend in picture.legends)]


def patches_of(picture: Figure, kind: type) -> list:
    return [patch for axes in picture.axes for patch in axes.patches if isinstance(patch, kind)]


def label_of(picture: Figure, name: str) -> Text:
    return next(text for text in texts_of(picture) if text.get_gid() == name)


def faults(picture: Figure) -> list[str]:
    """Everything that is wrong with a picture, in words."""
    picture.draw_without_rendering()
    texts = [(text, text.get_window_extent()) for text in texts_of(picture)]
    boxes = [(patch.get_gid(), patch.get_window_extent()) for patch in patches_of(picture, FancyBboxPatch)]
    page = picture.bbox
    found = [
        f"{a.get_text()} meets {b.get_text()}" for (a, x), (b, y) in itertools.combinations(texts, 2) if x.overlaps(y)
    ]
    found += [f"box {a} meets box {b}" for (a, x), (b, y) in itertools.combinations(boxes, 2) if x.overlaps(y)]
    for text, box in texts:
        if box.x0 < 0 or box.y0 < 0 or box.x1 > page.width or box.y1 > page.height:
            found.append(f"{text.get_text()} leaves the page")
        if "label" in (text.get_gid() or "/"):
            found += [f"{text.get_text()} meets box {name}" for name, other in boxes if box.overlaps(other)]
    labels = [(text, box) for text, box in texts if "/label-" in (text.get_gid() or "")]
    for edge in patches_of(picture, FancyArrowPatch):
        found += edge_faults(edge, labels, boxes)
    return found


def edge_faults(edge: FancyArrowPatch, labels: list[tuple[Text, Bbox]], boxes: list[tuple[str, Bbox]]) -> list[str]:
    """An edge must run through its own label and through no other, nor into a box; it may touch a box from outside."""
    name = edge.get_gid() or "concat"
    flat = edge.get_transform().transform_path(edge.get_path()).cleaned(curves=False)
    drawn = (flat.codes == Path.MOVETO) | (flat.codes == Path.LINETO)
    line = Path(flat.vertices[drawn], flat.codes[drawn])
    found = [f"{name} runs into box {box}" for box, extent in boxes if line.intersects_bbox(extent.padded(-1), False)]
    for text, extent in labels:
        own = text.get_gid() == name.replace("edge", "label")
        if own != line.intersects_bbox(extent, False):
            found.append(f"{name} and its label part" if own else f"{name} runs through {text.get_text()}")
        if own and to_rgba(text.get_color()) != edge.get_edgecolor():
            found.append(f"{name} and its label differ in colour")
    return found


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_cells_are_drawn_clearly(name: str) -> None:
    assert faults(figure(PUBLISHED[name])) == []


@pytest.mark.parametrize("seed", range(50))
def test_random_cells_are_drawn_clearly(seed: int) -> None:
    assert faults(figure(random_genotype(seed))) == []


@pytest.mark.parametrize("seed", range(10))
def test_cells_of_one_input_are_drawn_clearly(seed: int) -> None:
    assert faults(figure(one_input(seed))) == []


@pytest.mark.parametrize("name", ["$x_3x3$", "a_" * 40 + "z", "_", "größe_3x3"])
def test_odd_names_are_drawn_clearly(name: str) -> None:
    cell = Cell((((name, 0), (name, 0)), ((name, 2), (name, 2), (name, 1))), (3,))
    genotype = Genotype(
        cell, Cell(cell.nodes[:1], (2,)), {name: {"t": 2, "identity": "1", "kernels": [3, 5, 7, 9, 11, 13]}}
    )
    assert faults(figure(genotype)) == []


def test_inputs_that_nothing_reads() -> None:
    cell = Cell(((("skip_connect", 0),), (("skip_connect", 2), ("none", 2))), (2, 3))
    assert faults(figure(Genotype(cell, cell))) == []


def test_every_edge_is_labelled_once() -> None:
    genotype = PUBLISHED["NASNet"]
    picture = figure(genotype)
    shown = [text.get_text() for text in texts_of(picture) if "/label-" in (text.get_gid() or "")]
    assert len(shown) == 20 and shown.count("avg pool 3×3") == 5 and shown.count("skip") == 3
    arrows = patches_of(picture, FancyArrowPatch)
    assert len(arrows) == 20 + 5 + 3


def test_settings_are_shown() -> None:
    shown = [text.get_text() for text in texts_of(figure(tricky(t=2, identity="1/2")))]
    assert "mine t=2" in shown and "mine: identity 1/2" in shown


def test_legend_names_what_is_there() -> None:
    (legend,) = figure(PUBLISHED["DARTS_V2"]).legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["separable convolution", "dilated convolution", "pooling", "skip connection", "concatenation"]


def test_the_checker_finds_two_texts_on_one_another() -> None:
    picture = figure(PUBLISHED["DARTS_V2"])
    label_of(picture, "normal/label-0").set_position(label_of(picture, "normal/label-1").get_position())
    found = faults(picture)
    assert any("meets sep conv" in fault for fault in found)
    assert any("its label part" in fault for fault in found)


def test_the_checker_finds_a_text_that_leaves_the_page() -> None:
    picture = figure(PUBLISHED["DARTS_V2"])
    label_of(picture, "reduce/label-0").set_x(0.01)
    assert any("leaves the page" in fault for fault in faults(picture))


def test_the_checker_finds_a_label_on_a_box_and_an_edge_through_it() -> None:
    picture = figure(PUBLISHED["DARTS_V2"])
    box = next(box for box in patches_of(picture, FancyBboxPatch) if box.get_gid() == "normal/1")
    box.set_bounds(box.get_x() - 0.6, box.get_y(), 1.8, 1.0)
    found = faults(picture)
    assert any("meets box normal/1" in fault for fault in found)
    assert any("runs into box normal/1" in fault for fault in found)


def test_edges_cross_as_seldom_as_they_can() -> None:
    """Node 0 to 3 of DARTS_V2 crosses two edges on either side; below, the cell stays flatter."""
    cell = PUBLISHED["DARTS_V2"].normal
    lanes = {(edge.source, edge.target): edge.lane for edge in route(cell, {})}
    assert [lanes[0, target] for target in (2, 3, 4, 5)] == [1, 2, 3, 4]
    assert [lanes[1, target] for target in (2, 3, 4)] == [-1, -2, -3]
    assert lanes[2, 5] == -4


@pytest.mark.parametrize("seed", range(50))
def test_overlapping_edges_have_lanes_of_their_own(seed: int) -> None:
    for cell in random_genotype(seed).cells.values():
        edges = route(cell, {})
        assert len(edges) == sum(map(len, cell.nodes))
        for one, other in itertools.combinations(edges, 2):
            apart = one.span[1] <= other.span[0] or other.span[1] <= one.span[0]
            assert apart or one.lane != other.lane


def test_size_grows_with_the_cell() -> None:
    sizes = [figure(random_genotype(seed)).get_figwidth() for seed in (0, 2, 5)]
    assert sizes == sorted(sizes)


@pytest.mark.parametrize("format", ["svg", "png", "pdf"])
def test_the_same_bytes_each_time_whatever_the_user_has_set(format: str) -> None:
    first, second = BytesIO(), BytesIO()
    draw(PUBLISHED["PC_DARTS_cifar"], first, format)
    habits = {"font.size": 20, "font.family": "serif", "svg.hashsalt": None, "savefig.transparent": True}
    with matplotlib.rc_context({**habits, "svg.fonttype": "none", "savefig.bbox": "tight"}):
        draw(PUBLISHED["PC_DARTS_cifar"], second, format)
    assert first.getvalue() == second.getvalue()


def test_svg_is_sound(tmp_path: pathlib.Path) -> None:
    draw(PUBLISHED["AmoebaNet"], tmp_path / "cells.svg", "svg")
    text = (tmp_path / "cells.svg").read_text()
    ids = [element.get("id") for element in ElementTree.fromstring(text).iter() if element.get("id")]
    assert len(ids) == len(set(ids)) and {"normal/0", "reduce/edge-3"} <= set(ids)
    assert "<dc:date>" not in text and ">sep conv 3×3</text>" in text and "sans-serif" in text


def test_png_is_one(tmp_path: pathlib.Path) -> None:
    draw(PUBLISHED["DARTS_V1"], str(tmp_path / "cells.png"), "png")
    assert (tmp_path / "cells.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_format() -> None:
    with pytest.raises(UsageError, match="svg"):
        draw(PUBLISHED["DARTS_V1"], BytesIO(), "svgz")


def test_matplotlib_is_imported_where_used_and_never_pyplot() -> None:
    code = (
        "import io, sys, nas.cells.draw as d, nas.cells.genotype as g\n"
        "assert 'matplotlib' not in sys.modules and 'torch' not in sys.modules\n"
        "cell = g.Cell(((('skip_connect', 0),),), (2,))\n"
        "d.draw(g.Genotype(cell, cell), io.BytesIO(), 'svg')\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
