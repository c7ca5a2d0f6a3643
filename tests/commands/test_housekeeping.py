"""Runs as people keep them: listed, renamed, deleted, cleaned."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import Run, create, every
from nas.run.log import Epoch
from nas.run.spec import SearchSpec, Size, Spec, TrainSpec
from nas.run.state import working
from nas.settings import SearchSettings, TrainSettings

Nas = Callable[..., tuple[int, str, str]]
TRAIN = TrainSpec(settings=TrainSettings(data="digits", epochs=3), execution=Execution())
SEARCH = SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(36, 20))


def made(root: Path, name: str, spec: Spec, finished: bool = True) -> Run:
    run = create(root, "", spec, name=name)
    (run.path / "checkpoint").mkdir()
    (run.path / "checkpoint" / "1.pt").write_bytes(bytes(1000))
    run.append_log(Epoch(epoch=0, seconds=1.0, train_loss=0.5, train_accuracy=0.25, valid_accuracy=0.5))
    if finished:
        run.write("result.json", {"test_accuracy": 0.75, "params": 12_345, "madds": 6_700_000})
    return run


@pytest.fixture
def root(nas: Nas, tmp_path: Path) -> Path:
    made(tmp_path / "runs", "search", SEARCH)
    made(tmp_path / "runs", "training", TRAIN)
    made(tmp_path / "runs", "broken off", TRAIN, finished=False)
    return tmp_path / "runs"


def listed(nas: Nas, *words: str) -> list[str]:
    status, out, err = nas("runs", "--json", *words)
    assert status == 0, err
    return [row["run"] for row in json.loads(out)]


def test_lists(nas: Nas, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert listed(nas) == ["broken off", "search", "training"]
    assert listed(nas, "--command", "retrain") == ["broken off", "training"]
    assert listed(nas, "--data", "cifar10") == ["search"]
    assert listed(nas, "--state", "interrupted") == ["broken off"]
    with working(Run(root / "broken off")):
        assert listed(nas, "--state", "running") == ["broken off"]
    assert nas("runs", "--state", "done")[0] == 2
    row = json.loads(nas("runs", "--json", "--size", "--state", "interrupted")[1])[0]
    assert (row["progress"], row["valid_accuracy"]) == ("at epoch 1/3", 0.5) and row["bytes"] > 1000
    for width, lines in (("80", 6), ("200", 3)):
        monkeypatch.setenv("COLUMNS", width)
        out = nas("runs")[1]
        assert out.count("\n") == lines and all(len(line) <= int(width) for line in out.splitlines())
        for word in ("75.00% test", "12,345 params", "6.7M MAdds", "interrupted at epoch 1/3"):
            assert word in out, "nothing is cut"


def test_a_damaged_run_is_listed(nas: Nas, root: Path) -> None:
    (root / "search" / "settings.json").write_text("{")
    assert "damaged" in nas("runs")[1]


def test_rename_and_delete(nas: Nas, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nas("runs", "--rename", "tr", "mine") == (0, f"{Path('runs') / 'mine'}\n", "")
    assert nas("runs", "--rename", "mine", "search")[0] == 2 and nas("runs", "--rename", "mine", "a/b")[0] == 2
    monkeypatch.setattr("typer.confirm", lambda question: "mine" in question and False)
    assert nas("runs", "--delete", "mine")[0] == 0 and (root / "mine").is_dir(), "the answer was no"
    assert nas("runs", "--delete", "mine", "--delete", "search", "--yes")[0] == 0
    assert [path.name for path in root.iterdir()] == ["broken off"], "nothing half deleted"
    with working(Run(root / "broken off")):
        for words in (("--delete", "br", "--yes"), ("--rename", "br", "x")):
            status, _, err = nas("runs", *words)
            assert status == 2 and "a process works on run" in err
    inside = Run(root / "broken off").child("s0", TRAIN)
    with working(inside):
        (inside.path / ".log.part").touch()
        assert nas("runs", "--delete", "br", "--yes")[0] == 2 and nas("clean", "--yes")[1] == "nothing to remove\n"
    assert [run.path.name for run in every(root)] == ["broken off"]


def test_a_run_whose_copy_bears_its_name_keeps_it(nas: Nas, tmp_path: Path) -> None:
    made(tmp_path / "runs", "far", replace(TRAIN, execution=Execution(storage="s3://bucket")))
    status, _, err = nas("runs", "--rename", "far", "near")
    assert status == 2 and "s3://bucket under its name" in err


def test_clean(nas: Nas, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is going on, what is young, and what nas derive reads stay."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(root.parent / "cache"))
    kept, own = root.parent / "cache" / "nas", root / "training"
    for path in (kept / "kernels-1.so", kept / "cifar-10-batches-py" / "test_batch", own / ".log.part"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name in (".old.1.part", ".young.2.part"):
        (root / name).mkdir()
    os.utime(root / ".old.1.part", (0, 0))
    status, out, err = nas("clean", "--yes")
    assert status == 0 and "checkpoints of finished trainings (1)" in out, err
    left = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_dir()}
    assert left == {"search", "search/checkpoint", "training", "broken off", "broken off/checkpoint", ".young.2.part"}
    assert not (own / ".log.part").exists() and (kept / "kernels-1.so").exists()
    assert nas("clean", "--yes") == (0, "nothing to remove\n", "")
    assert nas("clean", "--yes", "--searches", "--caches")[0] == 0
    assert not (root / "search" / "checkpoint").exists() and not (kept / "kernels-1.so").exists()
    assert (kept / "cifar-10-batches-py" / "test_batch").exists(), "data is no cache"


def test_a_second_process_is_refused(root: Path, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.commands.resume import resume

    monkeypatch.setattr("nas.run.state.GLANCE", 0.0)
    run = Run(root / "broken off")
    with working(run), pytest.raises(UsageError, match="another process works on run"):
        resume(run)
