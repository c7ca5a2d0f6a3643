"""Trainings on real raylets: a node dies, a team shares a training, an object store keeps it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nas.run import Run, every
from tests.conftest import digest
from tests.train.one_worker import TEXT

RETRAIN = "retrain cell.txt --preset quick --data digits --limit 400 --batch 16 --channels 4 --cells 3 --epochs 4"
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}
"""Ray notices a node's death in seconds rather than in half a minute."""


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head and a second node, with one CPU each."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    nodes = Cluster(
        initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2", "_system_config": QUICK}
    )
    nodes.second = nodes.add_node(**node, node_ip_address="127.0.0.3")
    yield nodes
    nodes.shutdown()


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "cell.txt").write_text(TEXT)
    environment = {**os.environ, "NAS_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *RETRAIN.split(), *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def outcome(run: Run) -> dict[str, Any]:
    """All that must be the same: weights, log without times."""
    log = [{key: value for key, value in entry.items() if key != "seconds"} for entry in run.log()]
    return {"weights": digest(run.path / "weights.safetensors"), "log": log}


def events(run: Run) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]


def await_epochs(folder: Path, epochs: int, children: int) -> Run:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        for run in every(folder / "runs"):
            if len(run.children) == children and all(len(child.log()) >= epochs for child in run.children):
                return run
        time.sleep(0.05)
    raise TimeoutError("no log line came")


def test_a_node_dies(cluster: Any, tmp_path: Path) -> None:
    command = start(tmp_path / "killed", "--seeds", "0,1", "--cluster", cluster.address)
    run = await_epochs(tmp_path / "killed", 1, children=2)
    cluster.remove_node(cluster.second, allow_graceful=False)
    _, err = command.communicate(timeout=180)
    print(err)
    assert command.returncode == 0, err
    whole = start(tmp_path / "whole", "--seeds", "0,1", "--threads", "1")
    _, err = whole.communicate(timeout=180)
    assert whole.returncode == 0, err
    (expected,) = every(tmp_path / "whole" / "runs")
    for child, wanted in zip(run.children, expected.children, strict=True):
        assert outcome(child) == outcome(wanted)
    again = [event for child in run.children for event in events(child) if event["event"] == "resumed"]
    assert again and all(event["step"] > 0 for event in again)
