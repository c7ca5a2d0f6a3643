"""Damaged files: every file of a run truncated, emptied, flipped, swapped, made huge or deep, and read by each command.

A command ends with 0 and what it would have come to, or with 2 and one line. All in one process, hundreds a minute.
"""

import contextlib
import io
import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

import nas
from nas import cli, data
from nas.errors import UsageError
from nas.tuning.pruning import storage
from tests.campaign.tries import Tries
from tests.campaign.undisturbed import study_file

DIGITS = "--data digits --threads 1"
SPACE = Path(__file__).parents[1] / "small_space.toml"
SIZE = f"{DIGITS} --limit 64 --batch 16 --epochs 2"
SEARCH = f"search --space {SPACE} {SIZE} --channels 2 --cells 2 --chance 0 --final-channels 4 --final-cells 2"
RETRAIN = f"retrain search --preset quick {SIZE} --channels 4 --cells 2"
SEEDS = f"{RETRAIN} --seeds 0,1 --epochs 1"
TUNE = f"tune --space mobilenet_v2 --budget 1M --trials 2 --preset quick {SIZE} --epochs 1 --no-control --no-published"
MAKE = {
    "search": SEARCH,
    "derive": "derive search --select strongest,gdas --threads 1",
    "retrain": RETRAIN,
    "other": f"{RETRAIN} --seed 1",
    "seeds": SEEDS,
    "tune": TUNE,
    "study": "study STUDY.toml --threads 1",
}
"""Runs, each by its command."""
CUT = ("search", "retrain", "derive", "tune", "study")
"""Runs that are interrupted too: before their end, and search and retraining after an epoch."""
LOAD = "load {run}"
"""nas.load, of a run or of an exported folder."""
EVALUATE, EXPORT, RESUME = "evaluate {run} --json", "export {run} --to torch --out out", "{command} --resume {run}"
READ = (
    "show {run}",
    "show {run} --to svg --out out.svg",
    "show {run} --to csv",
    "show {run} --figure curves --out out.svg",
    "cost {run} --json",
    EVALUATE,
    EXPORT,
    "report {run} --out out.html",
    "runs --json",
    "runs --ledger",
    "compare {run} {beside} --unlike --json",
    "{command} --resume {run} --json",
    "clean --yes",
    RESUME,
    LOAD,
    "retrain {run} --preset quick --init {run} --data digits --limit 32 --batch 16 --epochs 1 --validation 0",
)
VALUES: tuple[Any, ...] = (
    *(None, True, "", "x", "\0", "../../x", -1, 0, 1, 10**6, 10**30, 0.5, 1e308, float("nan"), [], [[]], {}, {"a": 1}),
)


def _flipped(content: bytes, draw: Random) -> bytes:
    if not content:
        return content
    place = draw.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << draw.randrange(8))]) + content[place + 1 :]


def _without(lines: list[bytes], draw: Random) -> list[bytes]:
    return lines[: (place := draw.randrange(len(lines) or 1))] + lines[place + 1 :]


def _repeated(lines: list[bytes], draw: Random) -> list[bytes]:
    return lines[: (place := draw.randrange(len(lines) or 1)) + 1] + lines[place:]


def _torn(lines: list[bytes], draw: Random) -> list[bytes]:
    place = draw.randrange(len(lines) or 1)
    return [*lines[:place], *(line[: len(line) // 2] for line in lines[place : place + 1]), *lines[place + 1 :]]


def _changed(content: bytes, draw: Random, gone: bool = False) -> bytes:
    """A JSON document, or one of JSON lines, with one of its values changed or gone."""
    text = content.decode(errors="replace")
    lines = text.splitlines() if text.count("\n{") else [text]
    place = draw.randrange(len(lines) or 1)
    try:
        document = json.loads(lines[place])
    except (ValueError, IndexError):
        return _flipped(content, draw)
    keys: list[tuple[Any, Any]] = []
    inner = document
    while isinstance(inner, dict | list) and inner and (not keys or draw.random() < 0.7):
        key = draw.choice(list(inner)) if isinstance(inner, dict) else draw.randrange(len(inner))
        keys.append((inner, key))
        inner = inner[key]
    if keys:
        holder, key = keys[-1]
        if gone:
            del holder[key]
        else:
            holder[key] = draw.choice(VALUES)
    lines[place] = json.dumps(document)
    return "\n".join(lines).encode() + b"\n"


DAMAGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "cut": lambda content, draw: content[: draw.randrange(len(content) + 1)],
    "empty": lambda content, draw: b"",
    "flip": _flipped,
    "flips": lambda content, draw: _flipped(_flipped(_flipped(content, draw), draw), draw),
    "twice": lambda content, draw: content + content,
    "line gone": lambda content, draw: b"".join(_without(content.splitlines(keepends=True), draw)),
    "line twice": lambda content, draw: b"".join(_repeated(content.splitlines(keepends=True), draw)),
    "line torn": lambda content, draw: b"".join(_torn(content.splitlines(keepends=True), draw)),
    "null": lambda content, draw: b"null",
    "list": lambda content, draw: b"[1, 2]",
    "text": lambda content, draw: b"abc\n",
    "zeros": lambda content, draw: bytes(len(content)),
    "NaN": lambda content, draw: b"NaN",
    "deep": lambda content, draw: draw.choice((b'{"a":', b"[", b"a = [")) * 50_000,
    "digits": lambda content, draw: b'{"epoch": 1' + b"0" * 10_000 + b"}",
    "value": _changed,
    "key": lambda content, draw: _changed(content, draw, gone=True),
}


class Late(BaseException):
    """A command that takes longer than it may."""


def call(words: list[str], seconds: int = 30) -> tuple[int, str, str]:
    """(Exit status, stdout, stderr) of a command line in this process."""

    def late(*_: object) -> None:
        raise Late

    out, err = io.StringIO(), io.StringIO()
    before = signal.signal(signal.SIGALRM, late)
    began = time.process_time()
    signal.alarm(20 * seconds)  # of the clock, on a machine that has other work
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = cli.run(words)
    except Late:
        raise AssertionError(f"it hangs: {err.getvalue()[-200:]}") from None
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        data.forget()
        storage.cache_clear()
    took = time.process_time() - began
    assert took < seconds, f"it took {took:.0f} s"
    return status, out.getvalue(), err.getvalue()


def interrupted(run: Path) -> None:
    """Takes a finished run back to the checkpoint before its last."""
    (run / "result.json").unlink()
    if run.name not in ("search-cut", "retrain-cut"):
        return
    index = run / "checkpoint" / "latest.json"
    newest, older = json.loads(index.read_text())
    (run / "checkpoint" / newest["file"]).unlink()
    index.write_text(json.dumps([older]))
    for name in ("weights.safetensors", *("genotype.json", "architecture.json") * run.name.startswith("search")):
        (run / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of runs, and what their undisturbed ends come to."""
    root, here = tmp_path_factory.mktemp("whole"), Path.cwd()
    os.chdir(root)
    Path("STUDY.toml").write_text(study_file())
    try:
        for name, words in MAKE.items():
            status, _, err = call([*words.split(), "--runs", ".", "--name", name])
            assert status == 0, err
        for name in CUT:
            shutil.copytree(name, f"{name}-cut")
            interrupted(root / f"{name}-cut")
        assert call(["export", "retrain", "--to", "torch", "--out", "exported"])[0] == 0
        yield root
    finally:
        os.chdir(here)


def timeless(document: Any) -> Any:
    """The document without what no two runs have in common."""
    if isinstance(document, list):
        return [timeless(each) for each in document]
    if not isinstance(document, dict):
        return document
    lost = {"hardware", "device_hours", "test_openings", "source", "digest"}
    return {name: timeless(each) for name, each in document.items() if name not in lost and "seconds" not in name}


def outcome(run: Path) -> dict[str, Any]:
    """What a run has come to, without times."""
    result, path = json.loads((run / "result.json").read_text()), run / "log.jsonl"
    log = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    plain = [timeless(each) for each in (result, *log)]
    weights = run / "weights.safetensors"
    return {"documents": plain, "weights": weights.read_bytes() if weights.is_file() else b""}


def attempt(draw: Random, whole: Path, scratch: Path) -> None:
    """Damages one file of one run and lets one command read it."""
    name = draw.choice(sorted(path.name for path in whole.iterdir() if path.is_dir()))
    run = scratch / name
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(whole / name, run)
    os.chdir(scratch)
    files = sorted(path.relative_to(run) for path in run.rglob("*") if path.is_file())
    file = draw.choice([path for path in files if draw.random() < 0.5 or path.suffix in (".json", ".jsonl")] or files)
    what = draw.choice([*DAMAGES, "swap", "gone", "folder"])
    if what == "swap":
        others = [path for path in whole.rglob(file.name) if path != whole / name / file]
        (run / file).write_bytes(draw.choice(sorted(others) or [whole / name / file]).read_bytes())
    elif what in ("gone", "folder"):
        (run / file).unlink()
        if what == "folder":
            (run / file).mkdir()
    else:
        (run / file).write_bytes(DAMAGES[what]((run / file).read_bytes(), draw))
    command = {"other": "retrain", "seeds": "retrain"}.get(name, name.removesuffix("-cut"))
    usual = {"exported": LOAD, **{f"{each}-cut": RESUME for each in CUT}}
    line = usual[name] if name in usual and draw.random() < 0.7 else draw.choice(READ)
    words = line.format(run=run, command=command, beside=whole / "other").split()
    said = f"{name}/{file} {what}: nas {' '.join(words)}"
    words += ["--runs", str(scratch)] * (words[0] not in ("cost", "evaluate", "export", "compare"))
    try:
        if line == LOAD:
            load(run, whole)
        else:
            check(*call(words), run, whole, line)
    except BaseException as error:
        raise AssertionError(f"{said}: {type(error).__name__}: {error}") from error


def load(run: Path, whole: Path) -> None:
    """Loads a folder, and compares."""
    try:
        network = nas.load(run)
    except UsageError:
        return
    expected = nas.load(whole / run.name).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in network.state_dict().items()), "other weights"


def check(status: int, out: str, err: str, run: Path, whole: Path, line: str) -> None:
    """That a command came to what it would have come to, or said in a line why not."""
    lines = [each for each in err.splitlines() if each.startswith("nas: ")]
    assert status in (0, 2) and len(lines) == (status == 2) and "Traceback" not in err, f"{status}: {err[-300:]}"
    if status == 2:
        assert len(lines[0]) < 1500, lines[0]
        return
    if line == EVALUATE:
        accuracy = json.loads((whole / run.name / "result.json").read_text())["test_accuracy"]
        assert json.loads(out)["test_accuracy"] == accuracy, "another accuracy"
    if line == EXPORT:
        weights = (whole / run.name / "weights.safetensors").read_bytes()
        assert Path("out", "weights.safetensors").read_bytes() == weights, "other weights"
    if line == RESUME and run.name.endswith("-cut"):
        assert outcome(run) == outcome(whole / run.name.removesuffix("-cut")), "another end"


@pytest.mark.campaign("d: damaged files", share=2.5)
def test_damage(tries: Tries, whole: Path, tmp_path: Path) -> None:
    here = Path.cwd()
    try:
        tries.repeat(lambda draw: attempt(draw, whole, tmp_path / "runs"))
    finally:
        os.chdir(here)
