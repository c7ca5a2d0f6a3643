"""Figures for a paper: of every kind of run what it has, as a file of the form asked for."""

from collections.abc import Callable
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.pages.charts import Axis
from nas.pages.figure import FIGURES, draw
from nas.pages.records import record_of
from tests.pages import made

Nas = Callable[..., tuple[int, str, str]]


def test_an_edge_a_chart_and_an_operation_a_line(tmp_path: Path) -> None:
    charts = FIGURES["alphas"]([record_of(made.search(tmp_path))])
    assert len(charts) == 2 * 14 and len(charts[0].series) == 9
    assert charts[0].title == "Normal cell, c_k-2 → 0" and [x for x, _ in charts[0].series[0].points] == [1, 2, 3, 4]
    first = [dict(one.points)[1.0] for one in charts[0].series]
    assert sum(first) == pytest.approx(1, abs=1e-3), "mixing weights"


def test_curves_and_costs(tmp_path: Path) -> None:
    runs = [made.trainings(tmp_path, {0: 0.9, 1: 0.92}), made.search(tmp_path)]
    text = draw("curves", runs, "svg").decode()
    assert ">cross-entropy</text>" in text and ">Accuracy</text>" in text, "text is text"
    (chart,) = FIGURES["madds"]([record_of(runs[0])])
    assert len(chart.series[0].points) == 2
    assert draw("madds", runs[:1], "pdf").startswith(b"%PDF") and draw("madds", runs[:1], "png")[1:4] == b"PNG"


@pytest.mark.parametrize(
    ("what", "format", "message"),
    [("alphas", "pdf", "nothing of that"), ("curve", "pdf", "did you mean curves"), ("curves", "bmp", "bmp")],
)
def test_what_cannot_be_drawn(what: str, format: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        draw(what, [made.trainings(tmp_path, {0: 0.9})], format)


def test_the_commands(nas: Nas, tmp_path: Path) -> None:
    search, trained = made.search(tmp_path / "runs"), made.trainings(tmp_path / "runs", {0: 0.9, 1: 0.92})
    status, out, err = nas("show", search.path.name, "--figure", "curves", "--to", "svg")
    assert (status, out) == (0, f"{search.path.name}-curves.svg\n"), err
    status, _, err = nas("compare", trained.path.name, "--figure", "madds", "--out", "all.pdf")
    assert status == 0 and (tmp_path / "all.pdf").read_bytes().startswith(b"%PDF"), err
    status, out, _ = nas("show", trained.path.name, "--to", "latex")
    assert status == 0 and out.startswith("% Test accuracy\n\\begin{tabular}")
    status, out, _ = nas("show", search.path.name)
    assert status == 0 and "normal  node 0 = " in out and "(c_k-" in out
    status, _, err = nas("compare", "--published", "--to", "word")
    assert status == 2 and "markdown" in err and err.count("\n") == 1
    for command in (("cost", "--space", "mobilenext", "--to", "markdown"), ("compare", "--published", "--to", "csv")):
        status, out, err = nas(*command)
        assert status == 0 and ("| stage |" in out or out.startswith("method,")), err


def test_ticks_have_the_digits_that_they_need() -> None:
    axis = Axis("accuracy", "{:.0%}")
    assert axis.labels([0.81, 0.815, 0.82]) == ["81.0%", "81.5%", "82.0%"]
    assert axis.labels([0.8, 0.9]) == ["80%", "90%"] and Axis("epoch").labels([1.0, 2.5]) == ["1", "2.5"]
