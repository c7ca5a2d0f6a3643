"""What a command says to type next works as it is printed, and goes on with the same data and recipe."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.run.folder import Run, find
from nas.run.spec import TrainSpec
from nas.train.session import Session

Nas = Callable[..., tuple[int, str, str]]
SPACE = Path(__file__).parents[1] / "small_space.toml"
TINY = ("--data", "digits", "--limit", "96", "--epochs", "1", "--batch", "16", "--threads", "1")
SEARCH = ("search", "--preset", "quick", *TINY, "--channels", "2", "--cells", "2")
FINAL = ("--final-channels", "4", "--final-cells", "2")
TUNE = ("tune", "--space", "mobilenext", "--budget", "2M", "--preset", "quick", *TINY, "--trials", "1")
FEW = ("--no-control", "--no-published", "--pruner", "none", "--set", "reduction=6")
COMMAND = re.compile(r"nas (?:search|derive|retrain|tune|study|show|evaluate|export) [^\n;]*")
OWN = """
from torch import nn
def plain(channels, stride, affine):
    convolution = nn.Conv2d(channels, channels, 3, stride, 1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(channels, affine=affine))
OPS = {"printed_plain": plain}
"""


def printed(text: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in COMMAND.findall(text)]


def done(nas: Nas, words: tuple[str, ...] | list[str]) -> str:
    status, out, err = nas(*words)
    assert status == 0, err
    return out


def newest(tmp_path: Path) -> Run:
    return find("last", tmp_path / "runs")


def test_after_a_search_with_own_operations_and_a_derivation(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "my ops.py").write_text(OWN)
    (tmp_path / "own.toml").write_text(
        'kind = "cell"\nabout = "own"\nnodes = 2\n[ops]\nskip_connect = {}\nprinted_plain = {}\n'
    )
    (line,) = printed(done(nas, (*SEARCH, *FINAL, "--space", "own.toml", "--ops", "my ops.py", "--name", "my run")))
    assert line == ["retrain", str(Path("runs") / "my run"), "--ops", str(tmp_path / "my ops.py")]
    lines = printed(
        done(nas, ("derive", "my run", "--select", "strongest,threshold", "--threshold", "0.1", "--ops", "my ops.py"))
    )
    assert len(lines) == 2
    for words in (line, *lines):
        done(nas, [*words, "--limit", "96"])
        spec = newest(tmp_path).spec(TrainSpec)
        assert (spec.settings.data, spec.preset, spec.settings.epochs) == ("digits", "quick", 4)
        assert (spec.source, spec.ops is not None) == (str((tmp_path / words[1]).resolve()), True)


def test_after_a_tuning(nas: Nas, tmp_path: Path) -> None:
    (line,) = printed(done(nas, (*TUNE, *FEW)))
    assert "winners" in line[1]
    done(nas, line)
    settings = newest(tmp_path).spec(TrainSpec).settings
    assert (settings.data, settings.limit, settings.epochs, settings.validation) == ("digits", 96, 1, 0)


@pytest.mark.parametrize("words", [(*SEARCH, "--space", str(SPACE)), (*TUNE, *FEW)], ids=["search", "tune"])
def test_after_an_interruption(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """The same command is named by what needs a finished run."""
    stop, signals = Session._stop_if_asked, iter([15])

    def stopping(session: Session) -> None:  # type: ignore[type-arg]
        session._signal.number = next(signals, 0)
        stop(session)

    monkeypatch.setattr(Session, "_stop_if_asked", stopping)
    status, _, err = nas(*words)
    assert status == 143
    (line,) = printed(err)
    assert line == [words[0], "--resume", str(newest(tmp_path).path.relative_to(tmp_path))]
    for asking in (("cost", "last"), ("compare", "last")):
        status, _, err = nas(*asking)
        assert status == 2 and printed(err) == [line], err
    done(nas, line)
    assert newest(tmp_path).finished
