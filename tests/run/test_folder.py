"""Run folders."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.execution import Execution
from nas.run import folder as run
from nas.run.environment import Environment
from nas.run.hints import resumption
from nas.run.log import Epoch
from nas.run.results import Figures
from nas.run.spec import Candidate, Init, SearchSpec, Size, TrainSpec
from nas.settings import SearchSettings, TrainSettings

SPEC = TrainSpec(settings=TrainSettings(epochs=2), execution=Execution())


def test_never_overwritten(tmp_path: Path) -> None:
    runs = [run.create(tmp_path, "search-darts-s0", SPEC) for _ in range(3)]
    assert len({one.path for one in runs}) == 3
    assert json.loads((runs[0].path / "environment.json").read_text())["versions"]["torch"]


def test_found_by_path_name_and_last(tmp_path: Path) -> None:
    made = run.create(tmp_path, "search-darts-s0", SPEC)
    for name in (str(made.path), made.path.name, "last"):
        assert run.find(name, tmp_path).path == made.path
    with pytest.raises(UsageError, match="the nearest: "):
        run.find(made.path.name + "x", tmp_path)
    with pytest.raises(UsageError, match="no runs"):
        run.find("last", tmp_path / "empty")
    with pytest.raises(UsageError, match="not a run folder"):
        run.find(str(tmp_path), tmp_path)


def test_found_by_a_beginning_and_by_the_newest_of_a_command(tmp_path: Path) -> None:
    search = SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(36, 20))
    for number, (name, spec) in enumerate([("first", search), ("second", SPEC), ("seventh", SPEC)]):
        os.utime(run.create(tmp_path, "", spec, name=name).path / "settings.json", (number, number))
    assert run.find("fi", tmp_path).path.name == "first"
    assert [run.find(name, tmp_path).path.name for name in ("last", "last:search")] == ["seventh", "first"]
    with pytest.raises(UsageError, match="begins the names of 2 runs: second, seventh"):
        run.find("se", tmp_path)
    with pytest.raises(UsageError, match=r'no runs of "tune" in .*: known: retrain, search'):
        run.find("last:tune", tmp_path)
    with pytest.raises(UsageError, match=r"the nearest: [^,]*, [^,]*, [^,]*$"):
        run.find("x", tmp_path)


@pytest.mark.parametrize("name", ["", ".x", "-x", "last", "last:x", "a/b", "a\nb", "x" * 201, "taken"])
def test_names_that_a_run_cannot_have(tmp_path: Path, name: str) -> None:
    run.create(tmp_path, "", SPEC, name="taken")
    with pytest.raises(UsageError, match=r"cannot be a run's name|already"):
        run.create(tmp_path, "", SPEC, name=name)
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_folder_appears_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = run.create(tmp_path, "x", SPEC, {"space.toml": "text", "init.safetensors": b"bytes"})
    child = made.child("s0", SPEC, {"architecture.json": {"a": 1}})
    assert {path.name for path in made.path.iterdir()} >= {"space.toml", "init.safetensors", "settings.json", "s0"}
    assert made.child("s0", SPEC, {"architecture.json": {"a": 2}}) == child
    assert json.loads((child.path / "architecture.json").read_text()) == {"a": 1}

    def broken() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "environment", broken)
    with pytest.raises(KeyboardInterrupt):
        run.create(tmp_path, "y", SPEC)
    assert list(tmp_path.iterdir()) == [made.path]


def test_another_run_of_that_name_appears_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment, others = run.environment, iter([True])

    def slow() -> Environment:
        if next(others, False):
            (tmp_path / "rival").mkdir()
            (tmp_path / "rival" / "file").touch()
            for name in tmp_path.glob(".*.part"):
                (tmp_path / "rival").rename(tmp_path / name.name.split(".")[1])
        return environment()

    monkeypatch.setattr(run, "environment", slow)
    assert run.create(tmp_path, "x", SPEC).path.name.endswith("-x-2")
    assert len(list(tmp_path.iterdir())) == 2


def test_documents_are_those_that_a_run_was_begun_with(tmp_path: Path) -> None:
    made = run.create(
        tmp_path, "x", SPEC, {"space.toml": "nodes = 2\n", "init.safetensors": b"1", "some.json": {"a": 1}}
    )
    made.check_documents()
    (made.path / "space.toml").write_text("nodes = 3\n")
    with pytest.raises(UsageError, match=r"space\.toml is not what this run was begun with, as environment\.json says"):
        made.check_documents()
    (made.path / "space.toml").write_text("nodes = 2\n")
    (made.path / "settings.json").unlink()
    with pytest.raises(UsageError, match=r"settings\.json is not"):
        made.check_documents()
    for unknown in ("{}", ""):
        (made.path / "environment.json").write_text(unknown)
        made.check_documents()


def test_a_result_bears_its_digest(tmp_path: Path) -> None:
    made = run.create(tmp_path, "x", SPEC)
    made.finish(Figures(params=3842))
    path = made.path / "result.json"
    assert made.result(Figures) == Figures(params=3842) and "digest" not in made.result_document
    document = json.loads(path.read_text())
    for damaged in ({**document, "params": 3843}, {name: document[name] for name in document if name != "params"}):
        path.write_text(json.dumps(damaged))
        with pytest.raises(
            UsageError,
            match=r"result\.json is damaged, or not of the settings\.json beside it: its digest is another one",
        ):
            made.result(Figures)
    other = run.create(tmp_path, "x", replace(SPEC, preset="quick"))
    other.finish(Figures(params=1))
    shutil.copy(other.path / "result.json", path)
    with pytest.raises(UsageError, match="its digest is another one"):
        made.result(Figures)
    path.write_text('{"params": 7}')
    assert made.result(Figures).params == 7, "written before there were digests"


def test_the_runs_around_a_file(tmp_path: Path) -> None:
    """From the inside out; settings of another program are no run's."""
    made = run.create(tmp_path, "x", SPEC)
    child = made.child("s0", SPEC)
    (tmp_path / "settings.json").write_text('{"editor.fontSize": 12}')
    assert run.around(child.path / "architecture.json") == [child, made]
    assert run.around(made.path / "winners" / "a" / "architecture.json") == [made]


@pytest.mark.parametrize("torn", ['{"epoch": 3, "va', "null\n", '{"train_loss": 1}\n'])
def test_a_torn_last_line_is_cut(tmp_path: Path, torn: str) -> None:
    made = run.create(tmp_path, "x", SPEC)
    for epoch in range(3):
        made.append_log(Epoch(epoch=epoch, seconds=1.0, train_loss=0.5, train_accuracy=0.25))
    with (made.path / "log.jsonl").open("a") as file:
        file.write(torn)
    assert [entry.epoch for entry in made.log(Epoch)] == [0, 1, 2]
    lines = (made.path / "log.jsonl").read_text().splitlines()
    for _ in range(2):  # a process was killed just after the first
        made.write_log(lines[:2], abandoned=lines[2:3])
    assert [entry.epoch for entry in made.log(Epoch, "abandoned.jsonl")] == [2]
    rest = ', "seconds": 1.0, "train_loss": 0.5, "train_accuracy": 0.25}\n'
    assert (made.path / "log.jsonl").read_text() == f'{{"epoch": 0{rest}{{"epoch": 1{rest}'


def test_a_run_on_an_object_store_goes_on_with_a_cluster(tmp_path: Path) -> None:
    made = run.create(tmp_path, "x", replace(SPEC, execution=Execution(storage="s3://bucket")))
    assert resumption(made).endswith(f"--resume {made.path} --cluster local")
    assert "--cluster head:6379" in resumption(made, Execution(cluster="head:6379"))


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_damaged_settings(content: str, tmp_path: Path) -> None:
    made = run.create(tmp_path, "x", SPEC)
    (made.path / "settings.json").write_text(content)
    with pytest.raises(UsageError, match=r"settings\.json"):
        run.Run(made.path).spec(TrainSpec)


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot make run folder"):
        run.create(tmp_path / "file" / "runs", "x", SPEC)


def test_labels_become_safe_names(tmp_path: Path) -> None:
    made = run.create(tmp_path, "search-../my space+x:t=6-s0", SPEC)
    assert made.path.parent == tmp_path and " " not in made.path.name


def test_a_spec_comes_back(tmp_path: Path) -> None:
    spec = TrainSpec(
        settings=TrainSettings(epochs=2, limit=None),
        execution=Execution("cpu", 1, tmp_path),
        seeds=(0, 1),
        networks=(Candidate("c1", "a"), Candidate("c2", "b")),
        init=Init("run", "00"),
    )
    assert run.create(tmp_path, "x", spec).spec(TrainSpec) == spec
    search = SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(36, 20), seeds=(0, 1))
    made = run.create(tmp_path, "x", search)
    assert made.spec(SearchSpec) == search
    with pytest.raises(UsageError, match="command"):
        made.spec(TrainSpec)


def test_a_search_begun_before_there_were_relaxations(tmp_path: Path) -> None:
    made = run.create(tmp_path, "x", SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(36, 20)))
    document = json.loads((made.path / "settings.json").read_text())
    del document["settings"]["relaxation"]
    document["settings"]["sampler"] = "gdas"
    made.write("settings.json", document)
    assert made.spec(SearchSpec).settings.relaxation == "path"
