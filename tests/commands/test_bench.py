"""The bench measures what it says; its figures are not tested here."""

import json
import types
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from nas.cli.bench import print_measurement
from nas.commands import bench, workloads
from nas.commands import limits as limits_module
from nas.commands.bench import Point, compare, measure
from nas.commands.limits import Limits, machine_limits
from nas.commands.workloads import WAYS, Workload
from nas.errors import UsageError

SMALL = Workload(batch=2, channels=8, cells=3, size=8)
MACRO = ("mobilenet_v2", "mobilenext", "hbonet", "asymmnet")


@pytest.mark.parametrize("way", WAYS["search"])
def test_every_way_takes_a_search_step(way: str) -> None:
    SMALL.build(way)()


@pytest.mark.parametrize("way", ["merged", "reference"])
def test_second_order_takes_five_passes(way: str) -> None:
    step = replace(SMALL, order=2).build(way)
    passes = []
    network = next(cell.cell_contents for cell in step.__closure__ or () if hasattr(cell.cell_contents, "supernet"))
    network.supernet.register_forward_hook(lambda *_: passes.append(1))
    step()
    assert len(passes) == 5


@pytest.mark.parametrize("way", WAYS["retrain"])
def test_every_way_takes_a_training_step(way: str) -> None:
    Workload("retrain", batch=2, channels=4, cells=3, size=32).build(way)()


@pytest.mark.parametrize("space", MACRO)
def test_mobile_networks_take_a_training_step(space: str) -> None:
    for way in WAYS["macro"]:
        Workload("macro", space, batch=2).build(way)()


def test_work_is_the_published_network_s() -> None:
    """528.36 M multiply-adds an image of DARTS_V2's; each of the two kinds of gradients costs a forward pass."""
    text = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text()
    assert workloads.DARTS_V2 in text
    assert Workload.of("retrain", {"batch": 2}).work().madds == pytest.approx(2 * 3 * 528.36e6, rel=1e-4)
    first, second = (replace(SMALL, order=order).work() for order in (1, 2))
    assert second.madds / first.madds == 13 / 5 and second.bytes / first.bytes == 5 / 2


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> bench.Measurement:
    turns = {"merged": [(1.0, 30), (6.0, 40), (2.0, 40)], "reference": [(9.0, 99), (12.0, 100), (20.0, 100)]}
    turns["reference-lean"] = [(6.0, 80)] * 3
    monkeypatch.setattr(bench, "measure", lambda workload, way: Point(*turns[way].pop(0)))
    monkeypatch.setattr(bench, "machine_limits", lambda device: Limits(1e9, 1e9))
    return compare(SMALL, "merged", "reference")


def test_ratios_are_of_medians(figures: bench.Measurement) -> None:
    assert figures.speedup == {"reference": 6.0, "reference-lean": 3.0}
    assert figures.memory_ratio == {"reference": 0.4, "reference-lean": 0.5}
    assert figures.arithmetic["merged"] == figures.work.madds / 1e9 / 2
    assert figures.traffic["reference"] == figures.work.bytes / 1e9 / 12
    json.dumps(asdict(figures))


def test_it_is_printed_in_80_columns(figures: bench.Measurement, capsys: pytest.CaptureFixture[str]) -> None:
    print_measurement(figures)
    lines = capsys.readouterr().out.splitlines()
    assert "merged: 6.00 times as fast as reference, in 0.40 of its memory" in lines
    assert max(map(len, lines[:6])) <= 80


def test_a_measurement_is_a_process_of_its_own() -> None:
    point = measure(SMALL, "merged")
    assert 50e6 < point.bytes < 5e9 and point.seconds > 0


def test_the_machine_s_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits_module, "REPEATS", 1)
    limits = machine_limits()
    assert 1e8 < limits.madds < 1e14 and 1e8 < limits.bytes < 1e13


def test_a_way_that_does_not_run_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    killed = types.SimpleNamespace(returncode=-9, stdout="", stderr="")
    monkeypatch.setattr(bench.subprocess, "run", lambda *_, **__: killed)
    with pytest.raises(UsageError, match="reference step did not run"):
        measure(SMALL, "reference")


def test_mistakes() -> None:
    with pytest.raises(UsageError, match="merged"):
        compare(SMALL, "merge", "reference")
    with pytest.raises(UsageError, match="no --cells"):
        Workload.of("macro", {"cells": 8})
    with pytest.raises(UsageError, match="no --order"):
        Workload.of("retrain", {"order": 2})
    with pytest.raises(UsageError, match="mobilenext"):
        Workload.of("macro", {"space": "mobilenex"})
