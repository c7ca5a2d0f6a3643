"""--tensorboard: what is written, and that a run that goes on doubles nothing."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from nas import extras
from nas.execution import Execution
from nas.reports.tensorboard import watching
from nas.run.documents import as_json
from nas.run.folder import Run, create, find
from nas.run.log import Epoch, SearchEpoch
from nas.run.results import TrainResult
from nas.run.spec import SearchSpec, Size
from nas.settings import SearchSettings
from nas.space import load
from nas.train import session
from tests.pages.made import genotype_of

Nas = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore:data cifar10")
SPACE = str(Path(__file__).parents[1] / "small_space.toml")
SMALL = ("--channels", "2", "--cells", "2", "--epochs", "3", "--batch", "16")
FINAL = ("--final-channels", "4", "--final-cells", "3")


def read(run: Run) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run.path / "tensorboard"), size_guidance={"images": 0, "scalars": 0, "histograms": 0})
    found.Reload()
    return found


def points(run: Run, tag: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in read(run).Scalars(tag)]


def log(run: Run) -> Sequence[Epoch]:
    return run.log(SearchEpoch) or run.log(Epoch)


def logged(run: Run, key: str) -> list[tuple[int, float]]:
    return [(entry.epoch, pytest.approx(getattr(entry, key), rel=1e-6)) for entry in log(run)]


def test_search(nas: Nas, tmp_path: Path) -> None:
    status, _, err = nas("search", "--space", SPACE, *SMALL, *FINAL, "--tensorboard")
    assert status == 0, err
    run = find("last", tmp_path / "runs")
    events = read(run)
    tags = events.Tags()
    assert {"train/loss", "train/accuracy", "valid/loss", "valid/accuracy", "learning_rate", "entropy"} <= {
        *tags["scalars"]
    }
    assert points(run, "valid/loss") == logged(run, "valid_loss")
    for tag in ("cells", "alphas, softmax/normal", "alphas, softmax/reduce"):
        images = events.Images(tag)
        assert [image.step for image in images] == [0, 1, 2]
        assert all(image.encoded_image_string.startswith(b"\x89PNG") and image.width > 100 for image in images)
    assert [event.step for event in events.Histograms("alphas, softmax/normal")] == [0, 1, 2]
    rates = [value for _, value in points(run, "learning_rate")]
    assert rates[0] == pytest.approx(0.025) and rates == sorted(rates, reverse=True)


def test_what_a_search_has_undone_is_not_there(tmp_path: Path) -> None:
    """Epochs 0 to 3, back to 1, and on to 2; NaN alphas have no histogram. The second goes back last of all."""
    entries = [
        SearchEpoch(
            epoch=epoch,
            seconds=1.0,
            train_loss=float(number),
            train_accuracy=0.5,
            alphas={"normal": [[float("nan")] * 2]},
            entropy=1.0,
            skip_share=0.0,
            genotype=genotype_of(load("darts"), 0).document(),
        )
        for number, epoch in enumerate((0, 1, 2, 3, 1, 2))
    ]
    for name, order, left in (("again", range(6), (0, 4, 5)), ("stopped", range(4), (0, 1))):
        run = create(tmp_path, name, SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(8, 3)))
        with watching(run, True, SearchEpoch, lambda epoch: 0.1, ["a", "b"]) as watch:
            assert watch is not None
            for place in order:
                kept = (*range(place + 1),) if place < 4 else (0, *range(4, place + 1))
                run.write_log([json.dumps(as_json(entries[each])) for each in kept])
                watch(entries[place])
            run.write_log([json.dumps(as_json(entries[each])) for each in left])
        assert points(run, "train/loss") == [(entries[each].epoch, float(each)) for each in left]


def test_goes_on_without_doubled_points(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the second epoch's log line, before its checkpoint: that epoch is done again."""
    words = ("--space", SPACE, "--data", "digits", "--limit", "96", *SMALL, *FINAL, "--tensorboard")
    saves = []

    def stopped(self: session.Session[Epoch]) -> None:
        saves.append(self.epoch)
        if self.epoch == 2:
            raise KeyboardInterrupt
        saved(self)

    saved = session.Session.save
    with monkeypatch.context() as patched:
        patched.setattr(session.Session, "save", stopped)
        status, _, _ = nas("search", *words)
    run = find("last", tmp_path / "runs")
    assert status == 130 and len(log(run)) == 2 and points(run, "entropy") == logged(run, "entropy")[:1]
    status, _, err = nas("search", "--resume", "last")
    assert status == 0, err
    assert len(log(run)) == 3 and points(run, "entropy") == logged(run, "entropy")


def test_retrain_and_the_recipe(nas: Nas, tmp_path: Path, cifar: Path) -> None:
    nas("cost", "--space", "mobilenext", "--width", "0.1", "--save", "small.json")
    words = (
        "retrain",
        "small.json",
        "--data",
        "cifar10",
        "--preset",
        "quick",
        "--epochs",
        "2",
        "--batch",
        "20",
        "--validation",
        "20",
    )
    runs = []
    for more in ((), ("--tensorboard",)):
        status, _, err = nas(*words, *more)
        assert status == 0, err
        runs.append(find("last", tmp_path / "runs"))
    plain, watched = runs
    assert not (plain.path / "tensorboard").exists()
    assert points(watched, "valid/accuracy") == logged(watched, "valid_accuracy")
    assert len(points(watched, "learning_rate")) == 2
    assert plain.result(TrainResult).recipe == watched.result(TrainResult).recipe
    assert plain.result(TrainResult).test_loss == watched.result(TrainResult).test_loss


def test_mistakes(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    status, _, err = nas("search", "--data", "digits", "--tensorboard")
    assert status == 2 and err.splitlines()[-1].endswith(extras.install("tensorboard"))
    assert not list(tmp_path.glob("runs/*"))
    status, _, err = nas("search", "--resume", "last", "--tensorboard")
    assert status == 2 and "--tensorboard cannot be given" in err
