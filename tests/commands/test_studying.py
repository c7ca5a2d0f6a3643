"""Studies end to end on digits, very small: what is trained, what is written, killed and gone on with, mistakes."""

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from nas.architecture import read_architecture
from nas.commands.planning import ArmPlan, Plan
from nas.commands.studying import continue_study, spec_of, study, to_toml
from nas.errors import Interrupted
from nas.execution import Execution
from nas.reports.statistics import detectable
from nas.reports.studies import StudyDocument, StudySummary
from nas.run.documents import read
from nas.run.folder import Run, find
from nas.run.names import WEIGHTS
from nas.run.results import SearchResult, TrainResult
from nas.run.spec import TrainSpec
from nas.settings import StudySettings, make
from nas.train.preflight import Estimate
from nas.train.session import Session
from nas.train.weights import digest_of

Nas = Callable[..., tuple[int, str, str]]
SPACE = Path(__file__).parents[1] / "small_space.toml"
SMALL = f"""
space = ["{SPACE}"]
seeds = [3, 5]
controls = 3
data = "digits"
preset = "quick"

[search]
limit = 40
epochs = 1
channels = 2
cells = 2
batch = 8

[retrain]
limit = 32
epochs = 1
batch = 16

[final]
channels = 4
cells = 3
"""
NAMES = [f"small_space-darts-{name}" for name in ("s3", "s5", "s3-r0", "s5-r0", "c0-r0", "c1-r0", "c2-r0")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished study."""
    settings = make(StudySettings, tomllib.loads(SMALL))
    with pytest.MonkeyPatch.context() as patch:
        unmeasured(patch)
        return study(settings, runs=tmp_path_factory.mktemp("runs"), execution=Execution(threads=1))


def unmeasured(patch: pytest.MonkeyPatch) -> None:
    """Without the steps that measure time and memory before the first."""
    for loop in ("nas.bilevel.loop", "nas.train.loop"):
        patch.setattr(f"{loop}.measure", lambda *_, **__: Estimate(seconds=0.1, peak_bytes=0))


def test_a_row_a_training(whole: Run) -> None:
    rows = read(whole.path / "study.json", StudyDocument).rows
    assert [row.run for row in rows] == NAMES == [child.path.name for child in sorted(whole.children, key=order)]
    assert [row.role for row in rows] == ["search"] * 2 + ["retrain"] * 2 + ["control"] * 3
    assert [row.matched and row.matched[-2:] for row in rows[4:]] == ["s3", "s5", "s3"], "control i: search i mod n"
    for row in rows:
        child = Run(whole.path / row.run)
        genotype = read_architecture(child.path / "architecture.json").genotype
        assert row.status == "finished" and genotype and row.genotype == genotype.digest
        if row.role == "search":
            assert row.accuracy is None and row.madds == child.result(SearchResult).madds and row.seed in (3, 5)
        else:
            result = child.result(TrainResult)
            assert (row.accuracy, row.madds, row.seed) == (result.test_accuracy, result.madds, 0)
            assert result.test_openings == 1 and child.spec(TrainSpec).settings.seed == 0
    madds = {row.run: row.madds or 0 for row in rows}
    for row in rows[4:]:
        assert row.tolerance == 0.03 and abs(madds[row.run] / madds[row.matched or ""] - 1) <= 0.03
    recipes = {Run(whole.path / row.run).result(TrainResult).recipe for row in rows[2:]}
    assert len(recipes) == 1, "found and random cells are trained alike"


def order(child: Run) -> int:
    return NAMES.index(child.path.name)


def test_what_it_comes_to(whole: Run) -> None:
    summary = whole.result(StudySummary)
    found, random = summary.groups
    assert (found.n, found.trainings, random.n) == (2, 2, 3) and random.tolerance == 0.03
    assert summary.about.startswith("digits, preset quick: searches (epochs 1, C=2, cells 2, images 40)")
    text = (whole.path / "table.md").read_text()
    assert text.startswith(summary.about) and "at least 3 cells a side are needed" in text
    again = make(StudySettings, tomllib.loads((whole.path / "study.toml").read_text()))
    assert again == make(StudySettings, tomllib.loads(SMALL)) and to_toml(again) == to_toml(replace(again))


def test_the_commands_about_it(whole: Run, nas: Nas, tmp_path: Path) -> None:
    for words in (["show", str(whole.path)], ["study", "--resume", str(whole.path)]):
        status, out, err = nas(*words)
        assert status == 0 and "random cells" in out and "95 % interval" in out, err
    status, out, _ = nas("study", "--resume", str(whole.path), "--json")
    assert status == 0 and json.loads(out)["groups"][0]["n"] == 2
    status, _, err = nas("retrain", str(whole.path), "--preset", "quick", "--data", "digits")
    assert status == 2 and f"name a run in it, such as {whole.path}/small_space-darts-c0-r0" in err
    status, _, err = nas("study", "--resume", str(whole.path), "--controls", "3")
    assert status == 2 and "--controls cannot be given with it" in err
    status, out, _ = nas("runs", "--runs", str(whole.path.parent), "--json")
    assert status == 0 and json.loads(out)[0]["state"] == "finished"


def test_killed_and_resumed_it_is_as_if_it_had_not_been(
    whole: Run, nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in every second step, of searches and trainings; the space's file is gone when it goes on."""
    space, steps, stop = tmp_path / SPACE.name, iter(range(1000)), Session._stop_if_asked
    shutil.copy(SPACE, space)

    def stopping(session: Session) -> None:  # type: ignore[type-arg]
        session._signal.number = 15 if next(steps) % 2 else 0
        stop(session)

    unmeasured(monkeypatch)
    monkeypatch.setattr(Session, "_stop_if_asked", stopping)
    settings, execution = make(StudySettings, {**tomllib.loads(SMALL), "space": [str(space)]}), Execution(threads=1)
    with pytest.raises(Interrupted, match=r"go on with: nas study --resume .*study-small_space-s3_5"):
        study(settings, runs=tmp_path / "runs", execution=execution)
    space.unlink()
    run, interruptions = find("last", tmp_path / "runs"), 1
    status, _, err = nas("show", str(run.path))
    assert status == 2 and f"is not finished: nas study --resume {run.path}" in err
    states = [row.status for row in read(run.path / "study.json", StudyDocument).rows]
    assert states == ["unfinished"] * len(NAMES)
    while not run.finished:
        try:
            continue_study(run, execution)
        except Interrupted:
            interruptions += 1
    assert interruptions > 8
    for name in NAMES[2:]:
        ours, theirs = (digest_of(load_file(each.path / name / WEIGHTS)) for each in (run, whole))
        assert ours == theirs, name
    ours, theirs = (read(each.path / "study.json", StudyDocument).rows for each in (run, whole))
    assert [plain(row) for row in ours] == [plain(row) for row in theirs]


def plain(row: object) -> object:
    return replace(row, seconds=0.0, space="")  # type: ignore[type-var]


def test_from_flags(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[StudySettings] = []

    def stop(settings: StudySettings, **_: object) -> Run:
        seen.append(settings)
        raise Interrupted(2, "seen")

    monkeypatch.setattr("nas.commands.studying.study", stop)
    words = "--space darts --space darts+ir --method darts --method oles --seeds 0,1 --retrain-seeds 7 --controls 2"
    nas("study", *words.split(), "--preset", "quick", "--set", "search.epochs=9", "--set", "final.cells=5")
    (settings,) = seen
    assert (settings.space, settings.method) == (["darts", "darts+ir"], ["darts", "oles"])
    assert (settings.seeds, settings.retrain_seeds, settings.controls) == ([0, 1], [7], 2)
    arms = spec_of(settings, Execution()).arms
    assert [arm.name for arm in arms] == ["darts-darts", "darts-oles", "darts+ir-darts", "darts+ir-oles"]
    assert [arm.search.freeze for arm in arms] == [0.0, 0.4, 0.0, 0.4]
    assert {(arm.search.epochs, arm.final.channels, arm.final.cells) for arm in arms} == {(9, 12, 5)}


def test_options_win_over_the_file(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SMALL)
    words = ["study.toml", "--seeds", "0,1,2", "--controls", "4", "--set", "retrain.epochs=2", "--json"]
    status, out, err = nas("study", *words, "--dry-run")
    assert status == 0, err
    plan = json.loads(out)
    assert plan["trainings"] == {"search": 3, "retrain": 3, "control": 4}
    (arm,) = plan["arms"]
    hours = (3 * arm["search_seconds"] + 7 * arm["training_seconds"]) / 3600
    assert plan["device_hours"] == pytest.approx(hours) and arm["search_seconds"] > 0
    assert plan["sees"] == pytest.approx(detectable(0.002, 3, 4))
    assert not (tmp_path / "runs").exists()


def test_plan(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.commands.planning.arm_plan", lambda *_: ArmPlan("darts", "darts", 7200.0, 3600.0))
    status, out, err = nas("plan", "--data", "digits", "--preset", "quick", "--detect", "0.3", "--retrain-seeds", "0,1")
    assert status == 0, err
    # Cohen's tables: effect 1.5 takes 9 a side (64, 26, 17 of 0.5, 0.8, 1.0)
    assert "3 searches, 6 trainings of found cells, 16 trainings of random cells: 28 device-hours" in out
    assert "3 searches against 8 random cells see" in out
    assert f"0.3 points take 9 searches and as many random cells: {9 * 2 + 36:.3g} device-hours" in out
    status, out, _ = nas("plan", "--data", "digits", "--preset", "quick", "--detect", "0.0001")
    assert status == 0 and "more than ten thousand seeds" in out
    status, out, _ = nas("plan", "--data", "digits", "--preset", "quick", "--controls", "2", "--detect", "9", "--json")
    assert status == 0 and json.loads(out)["sees"] is None and json.loads(out)["needed"] == 3


def test_hours_of_a_plan() -> None:
    plan = Plan((ArmPlan("a", "b", 3600.0, 1800.0),) * 2, 3, 8, 2, 0.002, None)
    assert plan.trainings == {"search": 6, "retrain": 12, "control": 32}
    assert plan.device_hours(3, 8) == pytest.approx(2 * (3 + 11 * 2 * 0.5))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--seeds 1,1", "--seeds 1,1"),
        ("--retrain-seeds 0,0", "--retrain-seeds 0,0"),
        ("--retrain-seeds x", '--retrain-seeds "x"'),
        ("--set search.seed=3", "seed stands outside"),
        ("--set epochs=3", "it begins with search., retrain. or final."),
        ("--set search.epoch=3", "did you mean epochs"),
        ("--set final.cells=0", "cells = 0"),
        ("--set final.width=3", "width"),
        ("--set retrain.freeze=1", "--freeze 1"),
        ("--set retrain.batch=5000", "--batch 5000"),
        ("--space dart", "did you mean darts"),
        ("--space darts --space darts", "darts-darts"),
        ("--method dart", "did you mean darts"),
        ("--preset quik", "did you mean quick"),
        ("--controls -1", "controls"),
        ("no.toml", "no.toml"),
        ("bad.toml", "bad.toml: unknown field"),
        ("negative.toml", "negative.toml: seeds"),
        ("table.toml --set search.epochs=3", "search"),
        ("--resume nothing", "--data cannot be given"),
    ],
)
def test_mistakes(line: str, said: str, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text('spaces = ["darts"]')
    (tmp_path / "negative.toml").write_text("seeds = [-1]")
    (tmp_path / "table.toml").write_text("search = 3")
    status, out, err = nas("study", "--data", "digits", *line.split())
    assert status == 2 and said in err and len(err.splitlines()) == 1 and not out, err
    assert not (tmp_path / "runs").exists()
