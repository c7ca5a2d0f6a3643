"""The sentinel's rules on histories written by hand, and searches that it warns of, ends and sends back."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.bilevel import sentinel as module
from nas.bilevel.curvature import Curvature
from nas.bilevel.epoch import edge_margin
from nas.bilevel.sentinel import Sentinel, sentence
from nas.bilevel.stages import stages
from nas.cells.genotype import Cell, Genotype
from nas.cells.supernet import Supernet
from nas.errors import UsageError
from nas.run.folder import Run, every
from nas.run.log import SearchEpoch
from nas.run.results import Alarm, SearchResult
from nas.settings import SearchSettings, make
from nas.space import CellSpace
from nas.train import checkpoint
from nas.train.checkpoint import State

PLAIN = Cell(((("sep_conv_3x3", 0), ("sep_conv_3x3", 1)), (("sep_conv_3x3", 0), ("sep_conv_3x3", 1))), (2, 3))
SKIPS = Cell(((("skip_connect", 0), ("sep_conv_3x3", 1)), (("skip_connect", 0), ("sep_conv_3x3", 1))), (2, 3))
FLAT, RISEN = [0.1] * 30, [0.1] * 8 + [0.3] * 22


def heard(values: list[float], cell: Cell = PLAIN, **settings: Any) -> list[Alarm]:
    """The alarms of a search of 50 epochs with these eigenvalues, one every second epoch, and this normal cell."""
    own = SearchSettings(**{"alpha_weight_decay": 0.0, **settings})
    sentinel, stage = Sentinel(own), stages(own)[0]
    for epoch in range(50):
        if epoch % 2 == 0:
            sentinel.history.append((epoch, values[epoch // 2]))
        sentinel.alarms += sentinel.new_alarms(epoch, stage, Genotype(cell, PLAIN))
        if sentinel.over:
            break
    return sentinel.alarms


def test_rise_of_the_eigenvalue() -> None:
    """By hand: window 5 of measurements 7 to 11 is (0.1 + 4 · 0.3) / 5 = 0.26, that of 3 to 7 is 0.1."""
    (alarm,) = heard(RISEN)
    assert (alarm.rule, alarm.action, alarm.epoch, alarm.back) == ("eigenvalue", "warn", 22, 10)
    assert alarm.value == pytest.approx(2.6)
    assert "epoch 23" in sentence(alarm) and "2.60-fold" in sentence(alarm)


def test_no_rise() -> None:
    assert heard(FLAT) == []
    assert heard([0.1] * 8 + [0.129] * 22) == [], "1.29-fold is within the limit"
    assert heard([-0.1] * 8 + [0.3] * 22, alpha_weight_decay=0.0)[0].epoch > 22, "no ratio to what is not positive"
    assert heard(RISEN, sentinel="off") == []


def test_nothing_goes_off_in_the_first_fifth() -> None:
    assert heard([0.1] * 5 + [0.3] * 25)[0].epoch == 22, "at 16 and 18 it would go back to before the tenth epoch"
    assert heard(FLAT, SKIPS)[0].epoch == 10


def test_alphas_that_have_not_learnt_say_nothing() -> None:
    """By hand: of 50 epochs alphas learn in the last 35, a fifth of them is over after epoch 22."""
    assert heard(FLAT, SKIPS, alphas_from=15)[0].epoch == 22
    assert heard(FLAT, SKIPS, alphas_from=50, select="perturbation") == []


def test_skips_of_the_normal_cell() -> None:
    (alarm,) = heard(FLAT, SKIPS)
    assert (alarm.rule, alarm.action, alarm.value, alarm.back) == ("skips", "warn", 2, 10)
    assert heard(FLAT, SKIPS, skip_limit=3) == heard(FLAT, SKIPS, skip_limit=0) == []
    assert heard(FLAT, SKIPS, sentinel="stop")[0].action == "stop"
    assert heard(FLAT, SKIPS, sentinel="rollback")[0].action == "warn"


def test_weight_decay_after_rollbacks() -> None:
    sentinel = Sentinel(SearchSettings(sentinel="rollback"))
    alarm = Alarm("eigenvalue", 22, 2.0, 1.3, "rollback", 10)
    decays = []
    for _ in range(3):
        decays.append((sentinel.weight_decay, sentinel.action))
        sentinel.alarms.append(alarm)
    assert [decay for decay, _ in decays] == pytest.approx([3e-4, 3e-3, 3e-2])
    assert [action for _, action in decays] == ["rollback", "rollback", "warn"]
    assert Sentinel(SearchSettings(sentinel="rollback", weight_decay=0.0)).action == "warn"
    assert Sentinel(SearchSettings(sentinel="rollback", weight_decay=0.1)).weight_decay == 0.1


def test_state_is_kept() -> None:
    sentinel, other = Sentinel(SearchSettings()), Sentinel(SearchSettings())
    sentinel.history.append((0, 0.5))
    sentinel.alarms.append(Alarm("skips", 3, 2, 2, "warn", 3))
    other.load_state_dict(json.loads(json.dumps(sentinel.state_dict())))
    assert (other.history, other.alarms) == (sentinel.history, sentinel.alarms)


def test_edge_margin() -> None:
    space = CellSpace("two", "", 1, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})
    supernet = Supernet(space, channels=2, cells=3)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.copy_(torch.tensor([[9.0, 0.0, 0.0], [0.6, 0.3, 0.1]]).log().nan_to_num(neginf=-1e4))
    rows = torch.tensor([[9.0, 0.0, 0.0], [0.6, 0.3, 0.1]])
    wanted = (rows / rows.sum(1, keepdim=True))[:, 1:].diff().abs().mean()
    assert edge_margin(supernet) == pytest.approx(float(wanted), abs=1e-6)
    single = CellSpace("one", "", 1, {"none": {}, "sep_conv_3x3": {}})
    assert edge_margin(Supernet(single, channels=2, cells=3)) is None


def test_stop_is_not_of_stages() -> None:
    with pytest.raises(UsageError, match="--sentinel stop and --keep"):
        make(SearchSettings, {"sentinel": "stop", "keep": "4"})


WORDS = (
    *("--data", "digits", "--limit", "64", "--batch", "16", "--channels", "2", "--cells", "2", "--epochs", "11"),
    *("--final-channels", "2", "--final-cells", "3", "--chance", "0", "--eigenvalue", "1", "--skip-limit", "0"),
    "--space",
)
SMALL = str(Path(__file__).parents[1] / "small_space.toml")


def measure_rises(monkeypatch: pytest.MonkeyPatch, at: int, until: int = 10**6) -> None:
    """Eigenvalues of 0.1, and of 0.5 from an epoch on, in the first so many measurements."""
    numbers: Iterator[int] = count()

    def measure(self: Sentinel, epoch: int, *others: Any) -> Curvature:
        value = 0.5 if epoch >= at and next(numbers) < until else 0.1
        self.history.append((epoch, value))
        return Curvature(value, 0.5)

    monkeypatch.setattr(Sentinel, "measure", measure)


Nas = Callable[..., tuple[int, str, str]]


def state_of(run: Run) -> State:
    state = checkpoint.load(run.path / "checkpoint")
    assert state is not None
    return state


def same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return bool(one == other)


def check_stop(run: Run) -> None:
    log, lost = run.log(SearchEpoch), run.log(SearchEpoch, "abandoned.jsonl")
    assert [entry.epoch for entry in log] == [0, 1, 2, 3]
    assert [entry.epoch for entry in lost] == [4, 5, 6, 7, 8, 9]
    assert lost[-1].eigenvalue == 0.5 and lost[-1].eigenvalue_seconds == 0.5
    assert json.loads((run.path / "genotype.json").read_text()) == log[3].genotype
    result = run.result(SearchResult)
    assert result.seconds == pytest.approx(sum(entry.seconds for entry in (*log, *lost)), abs=0.06)


def check_rollback(run: Run) -> None:
    assert [entry.epoch for entry in run.log(SearchEpoch)] == list(range(11))
    assert state_of(run).parts["weights"]["param_groups"][0]["weight_decay"] == pytest.approx(3e-3)
    assert len(list((run.path / "kept").glob("*.pt"))) == module.KEPT


CHECKS = {"stop": check_stop, "rollback": check_rollback}


@pytest.mark.parametrize("mode", CHECKS)
def test_goes_back_and_the_same_when_killed_there(mode: str, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is killed after the checkpoint of the epoch at whose end the rule goes off."""
    measure_rises(monkeypatch, at=9, until=1)
    words = ("search", *WORDS, SMALL, "--sentinel", mode)
    status, out, err = nas(*words, "--runs", "whole")
    assert status == 0 and "epoch 4" in err and "RobustDARTS" in out, err
    (whole,) = every(Path("whole"))
    (alarm,) = whole.result(SearchResult).alarms
    assert (alarm.action, alarm.epoch, alarm.back) == (mode, 9, 3)
    CHECKS[mode](whole)

    measure_rises(monkeypatch, at=9, until=1)
    with monkeypatch.context() as patched:
        rules = Sentinel.new_alarms
        patched.setattr(Sentinel, "new_alarms", lambda self, epoch, *others: kill(epoch) or rules(self, epoch, *others))
        with pytest.raises(Killed):
            nas(*words, "--runs", "killed")
    (run,) = every(Path("killed"))
    assert len(run.log(SearchEpoch)) == 10 and not run.finished
    status, _, err = nas("search", "--resume", str(run.path))
    assert status == 0, err
    assert same(state_of(whole).parts, state_of(run).parts)
    logs = [[replace(entry, seconds=0.0) for entry in each.log(SearchEpoch)] for each in (whole, run)]
    assert logs[0] == logs[1]
    assert run.result(SearchResult).alarms == (alarm,)


class Killed(BaseException):
    """Nothing is done any more."""


def kill(epoch: int) -> None:
    if epoch == 9:
        raise Killed


def test_warns_once_and_changes_nothing(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    assert nas("search", *WORDS, SMALL, "--sentinel", "off", "--eigenvalue", "0", "--runs", "plain")[0] == 0
    measure_rises(monkeypatch, at=9)
    status, out, err = nas("search", *WORDS, SMALL, "--runs", "warned")
    assert status == 0 and err.count("may be collapsing") == 1 == out.count("may be collapsing")
    (plain,), (warned,) = every(Path("plain")), every(Path("warned"))
    one, other = state_of(plain).parts, state_of(warned).parts
    assert other.pop("sentinel")["history"][-1] == (10, 0.5)
    assert same(one, other)


def test_a_state_that_is_gone_is_a_warning(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    measure_rises(monkeypatch, at=9)
    monkeypatch.setattr("nas.train.checkpoint.load_step", lambda folder, step: None)
    status, _, err = nas("search", *WORDS, SMALL, "--sentinel", "stop")
    assert status == 0 and "may be collapsing" in err
    assert len(every(Path("runs"))[0].log(SearchEpoch)) == 11
