"""The bench measures what it says; its figures are not tested here."""

import json
import types
from dataclasses import asdict

import pytest

from nas.commands import bench
from nas.commands.bench import Workload, build, compare
from nas.errors import UsageError

SMALL = Workload(batch=2, channels=8, cells=3, size=8)


@pytest.mark.parametrize("way", bench.SEARCH_WAYS)
def test_every_way_takes_a_search_step(way: str) -> None:
    build(SMALL, way)()


@pytest.mark.parametrize("way", bench.RETRAIN_WAYS)
def test_every_way_takes_a_training_step(way: str) -> None:
    build(Workload("retrain", batch=2, channels=4, cells=3, size=32), way)()


def test_ratios_are_of_medians(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([9.0, 99.0, 9.0, 1.0, 6.0, 3.0, 2.0, 5.0, 3.0, 1.0, 20.0, 3.0])
    monkeypatch.setattr(bench, "timed", lambda step, device: next(turns))
    monkeypatch.setattr(bench, "build", lambda workload, way: None)
    memory = {"merged": 40, "reference": 100, "reference-lean": 80}
    monkeypatch.setattr(bench, "peak_memory", lambda workload, way: memory[way])
    result = compare(SMALL, "merged", "reference")
    assert result.speedup == 6.0 and result.speedup_lean == 3.0
    assert result.memory_ratio == 0.4 and result.memory_ratio_lean == 0.5
    assert result.repeats == 3 and result.environment["threads"] >= 1
    json.dumps(asdict(result))


def test_memory_is_measured_in_another_process() -> None:
    assert 50e6 < bench.peak_memory(SMALL, "merged") < 5e9


def test_a_way_that_does_not_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = types.SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(UsageError, match="reference step did not run"):
        bench.peak_memory(SMALL, "reference")


def test_unknown_engine() -> None:
    with pytest.raises(UsageError, match="merged"):
        compare(SMALL, "merge", "reference")
