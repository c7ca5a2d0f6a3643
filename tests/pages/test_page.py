"""The report's structure: sound, self-contained, complete without a script."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from nas import cli
from nas.commands.reporting import report
from nas.errors import UsageError
from nas.pages.charts import Axis, Chart, Series
from nas.pages.outcomes import Outcome
from nas.pages.page import inline, outcome, render
from nas.pages.records import Record, record_of
from nas.pages.replay import replay_of
from nas.run import names
from nas.run.folder import Run, find
from nas.run.results import Alarm, Chance, Marks, SearchResult
from nas.settings import SearchSettings
from nas.space import load
from tests.pages import made
from tests.pages.made import Page
from tests.reports.test_claims import OWN

Nas = Callable[..., tuple[int, str, str]]
ADDRESSED = ("src", "href", "action", "data", "poster", "srcset", "xlink:href")


def page_of(*runs: Run) -> Page:
    return Page(render([record_of(run) for run in runs]))


def check(page: Page) -> None:
    """What holds for every page."""
    assert page.open == []
    addresses = [value for _, attributes in page.elements for name, value in attributes.items() if name in ADDRESSED]
    assert all(address and address.startswith("#") for address in addresses)
    assert "url(" not in page.words["style"] and "@import" not in page.words["style"]
    assert not {"link", "img", "iframe", "object"} & {tag for tag, _ in page.elements}
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    pointed = [
        attributes[key] for _, attributes in page.elements for key in ("aria-labelledby", "for") if key in attributes
    ]
    assert {*pointed, *(address[1:] for address in addresses if address)} <= set(ids)
    for svg in page.of("svg"):
        assert svg.get("aria-hidden") or (svg.get("role") == "img" and svg.get("aria-label"))


def test_a_search(tmp_path: Path) -> None:
    page = page_of(made.search(tmp_path))
    check(page)
    heats = [table for table in page.of("table") if table.get("class") == "heat"]
    assert len(heats) == 2
    (data,) = [script for script in page.of("script") if script.get("type") == "application/json"]
    shown = [div for div in page.of("div") if div.get("class") == "drawings" and "hidden" not in div]
    assert len(shown) == 1 and data
    assert sum(attributes.get("class") == "cell" for attributes in page.of("svg")) == 2 * 3  # the last two are the same
    (slider,) = page.of("input")
    assert (slider["type"], slider["min"], slider["max"], slider["value"]) == ("range", "0", "3", "3")
    assert "<b>" not in page.words["h1"] and "finished" in page.words["p"]


def test_a_name_cannot_leave_the_page(tmp_path: Path) -> None:
    run = made.search(tmp_path)
    run.write(names.ENVIRONMENT, {"hardware": "</script><img src=x>", "platform": "<b>"})
    page = page_of(run)
    check(page)
    assert "<img src=x>" in page.words["p"]


def test_inline_data_ends_no_script() -> None:
    text = inline({"a": "</script><!--&"})
    assert not set("<>&") & set(text) and json.loads(text) == {"a": "</script><!--&"}


def test_a_search_that_goes_on(tmp_path: Path) -> None:
    page = page_of(made.search(tmp_path, epochs=2))
    check(page)
    assert "epoch 2 of 4, about 4 s of work left; last epoch logged" in page.words["p"]
    assert page.of("progress")[0]["value"] == "0.5000"


def test_a_search_that_has_not_begun(tmp_path: Path) -> None:
    page = page_of(made.search(tmp_path, epochs=0))
    check(page)
    assert "no epoch logged yet" in page.words["p"] and "has no cell to draw yet" in page.words["p"]


def test_trainings_and_a_search_side_by_side(tmp_path: Path) -> None:
    trainings = made.trainings(tmp_path, {0: 0.9, 1: 0.91, 2: 0.93})
    page = page_of(trainings, made.search(tmp_path))
    check(page)
    assert "91.33%" in page.words["dd"] + page.words["td"] and "1.53%" in page.words["td"]
    assert f"{trainings.path.name}/s2 held-out" in page.words["li"]
    assert "91.33%" not in page_of(made.trainings(tmp_path, {0: 0.9})).words["dd"]


def test_unfinished_trainings_count_their_children(tmp_path: Path) -> None:
    run = made.trainings(tmp_path, {0: 0.9, 1: 0.91, 2: 0.93})
    (run.path / names.RESULT).unlink()
    (run.path / "s2" / names.RESULT).unlink()
    page = page_of(run)
    check(page)
    assert "2 of 3 runs finished" in page.words["p"] and page.of("progress")[0]["value"] == "0.6667"


def test_a_study(tmp_path: Path) -> None:
    run = made.trainings(tmp_path, {0: 0.9})
    shared = {"space": "darts", "method": "darts", "params": 1, "status": "finished", "run": "x", "cell": "x"}
    rows = [
        {**shared, "role": role, "seed": seed, "madds": 10**6 * seed, "accuracy": 0.9}
        for role in ("retrain", "control")
        for seed in (1, 2)
    ]
    rows.append({**shared, "role": "search", "seed": 1, "accuracy": None})
    run.write("study.json", {"format": "nas/study/1", "about": "small", "rows": rows})
    page = page_of(run)
    check(page)
    marks = [path for path in page.of("path") if path.get("class") == "mark series-0 hollow"]
    assert len(marks) == 2 + 1  # two controls, and one in the legend
    assert "random cells of the same space" in page.words["span"]
    (run.path / names.RESULT).unlink()
    assert "1 of 5 runs finished" in page_of(run).words["p"]


def test_what_a_sentinel_has_seen(tmp_path: Path) -> None:
    run = made.search(tmp_path)
    alarm = Alarm("skips", 2, 5.0, 2.0, "warn", 0)
    chance = Chance(100, Marks(params=80.0, madds=94.0, naswot=93.6, synflow=57.0))
    run.write(names.RESULT, replace(run.result(SearchResult), alarms=(alarm,), chance=chance))
    page = page_of(run)
    check(page)
    assert "5 skip connections in the normal cell" in page.words["p"]
    assert "Percentiles of the untrained cell" in page.words["p"] and "100809494" in page.words["td"]


def test_an_alarm_takes_no_verdict_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made.search(tmp_path)
    alarm = Alarm("skips", 2, 5.0, 2.0, "warn", 0)
    run.write(names.RESULT, replace(run.result(SearchResult), alarms=(alarm,)))
    monkeypatch.setattr("nas.pages.page.outcome_of", lambda _: Outcome([], ["darts is better than random cells"], ""))
    record = SimpleNamespace(run=run, leaves=[record_of(run)], spec=SimpleNamespace(seeds=None, command="study"))
    alarms, verdict = outcome(cast(Record, record)).notes
    assert "5 skip connections" in alarms and verdict == "darts is better than random cells"


def test_weights_are_the_mixing_weights(tmp_path: Path) -> None:
    run = made.search(tmp_path)
    replay = replay_of(record_of(run), "r")
    assert replay and replay.cells == [0, 1, 2, 2] and len(replay.maps) == 2
    for heat_map in replay.maps:
        assert all(sum(row) == pytest.approx(1, abs=1e-3) for epoch in heat_map.weights for row in epoch)
        assert all(len(chosen) == 8 for chosen in heat_map.chosen)
        assert heat_map.shade(heat_map.bounds[0]) == 0 and heat_map.shade(heat_map.bounds[1]) == 1


def test_weights_of_a_stage_are_of_the_operations_it_has(tmp_path: Path) -> None:
    settings = SearchSettings(space="darts", data="digits", epochs=4, keep="5", deepen=1, fresh=True)
    replay = replay_of(record_of(made.search(tmp_path, settings)), "r")
    assert replay
    present = [[sum(weight is not None for weight in row) for row in epoch] for epoch in replay.maps[0].weights]
    assert present == [[8] * 14] * 2 + [[5] * 14] * 2


def test_published_figures_with_ones_own_on_equal_terms_alone(tmp_path: Path) -> None:
    record = record_of(made.search(tmp_path))
    other = replace(OWN, name="short", settings=replace(OWN.settings, epochs=4))
    page = Page(render([record], [OWN, other]))
    check(page)
    assert "mine" in page.words["th"] and "PR-DARTS" in page.words["th"] and "short" not in page.words["th"]
    assert "short cannot stand among the claims, as it has other terms: --epochs 4 (not 600)." in page.words["p"]
    assert "PR-DARTS" not in page_of(made.search(tmp_path)).words["th"]


def test_a_damaged_run_is_one_line(nas: Nas, tmp_path: Path) -> None:
    run = made.search(tmp_path)
    (run.path / names.SETTINGS).write_text('{"command": "search"}')
    status, out, err = nas("report", str(run.path))
    assert status == 2 and out == "" and err.count("\n") == 1 and "settings.json" in err


def test_the_command(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = made.search(tmp_path / "runs"), made.trainings(tmp_path / "runs", {0: 0.9, 1: 0.8})
    shown: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: not shown.append(address))
    status, out, err = nas("report", str(run.path), "--open")
    assert (status, err) == (0, "") and Path(out.strip()) == run.path / "report.html"
    assert shown == [(run.path / "report.html").as_uri()]
    status, out, _ = nas("report", run.path.name, other.path.name, "--out", "both.html")
    assert status == 0 and out == "both.html\n"
    check(Page((tmp_path / "both.html").read_text()))
    with pytest.raises(UsageError, match="named twice"):
        report([run, run])
    assert nas("report", "nothing")[0] == 2 and nas("report", str(run.path), "--out", "no/such/folder.html")[0] == 2


def test_a_real_tuning(nas: Nas, tmp_path: Path) -> None:
    recipe = ("--data", "digits", "--preset", "quick", "--epochs", "1", "--limit", "80", "--batch", "32")
    assert nas("tune", "--space", "mobilenet_v2", "--budget", "1M", *recipe, "--trials", "2", "--no-published")[0] == 0
    assert nas("report", "last", "--out", "tuning.html")[0] == 0
    page = Page((tmp_path / "tuning.html").read_text())
    check(page)
    assert "mobilenet_v2: expansion" in page.words["figcaption"] and "best so far" in page.words["figcaption"]
    assert "2 random trials beside 2 tuned ones" in page.words["span"]
    assert "trial 1" in page.words["title"]
    run = find("last", tmp_path / "runs")
    (run.path / names.RESULT).unlink()
    page = page_of(run)
    check(page)
    assert page.words["figcaption"] == "Trials so far" and "begun so far" in page.words["p"]


def test_help_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["report", "--help"]) == 0
    assert "--open" in capsys.readouterr().out


def drawn(*points: tuple[float, float]) -> Page:
    return Page(Chart("a <chart>", Axis("x"), Axis("y", "{:.0%}"), [Series("<s>", points)]).__html__())


def test_a_chart_leaves_out_what_is_no_number() -> None:
    page = drawn((1, 0.5), (2, float("nan")), (3, float("inf")), (4, 0.25))
    line = next(path["d"] for path in page.of("path") if path.get("class") == "line series-0")
    assert line and line.count("L") == 1 and "50.00%" in page.words["td"]
    assert drawn((1, float("nan"))).elements == []


@pytest.mark.parametrize("points", [[(1.0, 0.5)], [(1.0, 0.0), (2.0, 0.0)], [(1e-9, 1e9), (2.0, -1e9)]])
def test_a_chart_of_odd_values_stays_in_its_frame(points: list[tuple[float, float]]) -> None:
    page = drawn(*points)
    marks = [path["transform"] for path in page.of("path") if "mark" in str(path.get("class"))]
    for mark in marks[: len(points)]:
        x, y = map(float, re.findall(r"translate\(([\d.]+) ([\d.]+)\)", str(mark))[0])
        assert 62 <= x <= 426 and 12 <= y <= 228


def test_no_name_is_markup(tmp_path: Path) -> None:
    odd = "'\"><img src=x onerror=alert(1)><script>alert(1)<"
    run = made.search(tmp_path, replace(made.SEARCH, data=odd))
    run = Run(run.path.rename(tmp_path / "<img src=x onerror=alert(1)>"))
    page = page_of(run)
    check(page)
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    assert sum(tag == "script" for tag, _ in page.elements) == sum(
        tag == "script" for tag, _ in page_of(made.search(tmp_path)).elements
    )


@pytest.mark.parametrize("damage", ["torn", "doubled", "removed"])
def test_a_damaged_log_is_named(damage: str, tmp_path: Path) -> None:
    record = record_of(made.search(tmp_path))
    path = record.run.path / "log.jsonl"
    first, second, *rest = path.read_text().splitlines()
    middle = {"torn": [second[:20]], "doubled": [second, second], "removed": []}[damage]
    path.write_text("\n".join([first, *middle, *rest]))
    with pytest.raises(UsageError, match=rf"log\.jsonl: line {3 if damage == 'doubled' else 2} is damaged"):
        _ = record.log


def test_a_space_of_another_search_is_named(tmp_path: Path) -> None:
    record = record_of(made.search(tmp_path))
    record.run.write(names.SPACE, load("darts").to_toml())
    with pytest.raises(UsageError, match=r"space\.toml is not the space of log\.jsonl"):
        replay_of(record, "")
