"""Trainings on real raylets: a node dies, two workers share a training, an object store keeps it."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nas.cluster.trainings import joint_outcome
from nas.cluster.worker import Outcome
from nas.run.folder import Run, every
from nas.run.log import Epoch
from nas.run.names import EVENTS, WEIGHTS
from nas.run.results import TrainResult
from tests.cluster.test_connect import parent_of
from tests.conftest import digest
from tests.train.one_worker import TEXT

RETRAIN = "retrain cell.txt --preset quick --data digits --limit 400 --batch 16 --channels 4 --cells 3 --epochs 4"
NODE = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
QUICK = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 1000, "health_check_failure_threshold": 5}
"""Ray notices a node's death in seconds rather than in half a minute."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, with one CPU each, on loopback addresses."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_memory_monitor_refresh_ms", "0")  # other programs' memory is not ours
        patch.setenv("RAY_worker_niceness", "0")
        patch.setenv("RAY_raylet_start_wait_time_s", "120")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        head = {**NODE, "node_ip_address": "127.0.0.2", "_system_config": QUICK}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        nodes.add_node(**NODE, node_ip_address="127.0.0.3")
        yield nodes
        nodes.shutdown()


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    (folder / "cell.txt").write_text(TEXT)
    environment = {**os.environ, "NAS_RUNS": str(folder / "runs"), "OMP_NUM_THREADS": "1"}
    if words[0] != "study":
        words = ("retrain", *words) if "--resume" in words else (*RETRAIN.split(), *words)
    command = [sys.executable, "-m", "nas", *words]
    return subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)


def ended(command: subprocess.Popen[str], status: int = 0) -> str:
    """What a command said, which must end with this status."""
    _, err = command.communicate(timeout=300)
    assert command.returncode == status, err
    return err


def once(folder: Path, reached: Callable[[Run], bool], command: subprocess.Popen[str]) -> Run:
    """The run of the command, as soon as it has reached a point."""
    end = time.monotonic() + 200
    while time.monotonic() < end and command.poll() is None:
        for run in every(folder / "runs"):
            if reached(run):
                return run
        time.sleep(0.05)
    command.kill()
    raise TimeoutError(command.communicate()[1])


def log_of(run: Run) -> list[Epoch]:
    return [replace(entry, seconds=0.0) for entry in run.log(Epoch)]


def resumed(run: Run) -> list[int]:
    """The steps at which a training went on."""
    events = [json.loads(line) for line in (run.path / EVENTS).read_text().splitlines()]
    return [event["step"] for event in events if event["event"] == "resumed"]


def test_a_node_dies(cluster: Any, tmp_path: Path) -> None:
    words = ("--seeds", "0,1", "--epochs", "16")  # the node dies before they end, however fast the machine is
    command = start(tmp_path / "killed", *words, "--cluster", cluster.address)
    both_at_work = lambda run: len(run.children) == 2 and all(child.log(Epoch) for child in run.children)  # noqa: E731
    run = once(tmp_path / "killed", both_at_work, command)
    second = next(iter(cluster.worker_nodes))
    cluster.remove_node(second, allow_graceful=False)
    err = ended(command)
    assert all(re.search(rf"train s{seed} .* epoch 16/16", err) for seed in (0, 1)), (
        "epoch lines come back to the terminal"
    )

    ended(start(tmp_path / "whole", *words, "--threads", "1"))
    (expected,) = every(tmp_path / "whole" / "runs")
    for child, other in zip(run.children, expected.children, strict=True):
        assert digest(child.path / WEIGHTS) == digest(other.path / WEIGHTS)
        assert log_of(child) == log_of(other)
        assert child.result(TrainResult).test_accuracy == other.result(TrainResult).test_accuracy
    again = [step for child in run.children for step in resumed(child)]
    assert again and all(step > 0 for step in again)
    cluster.add_node(**NODE, node_ip_address="127.0.0.3")


def workers_of(cluster: Any) -> list[int]:
    """The processes in which workers train."""
    raylets = {node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()}
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has just ended
            if parent_of(folder) in raylets and (folder / "cmdline").read_text().startswith("ray::work"):
                pids.append(int(folder.name))
    return sorted(pids)


SHARED = ("--workers", "2", "--accumulate", "2")


@pytest.fixture(scope="module")
def undisturbed(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The run of two workers of which none dies."""
    folder = tmp_path_factory.mktemp("whole")
    ended(start(folder, "--cluster", cluster.address, *SHARED))
    (run,) = every(folder / "runs")
    return run


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_workers_die(cluster: Any, undisturbed: Run, tmp_path: Path, seed: int) -> None:
    """One of two at a random moment after the first epoch, one after the second: bit for bit the same in the end.

    Sums over two workers do not depend on their order, so that nothing drifts apart by rounding.
    """
    moments, command = random.Random(seed), start(tmp_path, "--cluster", cluster.address, *SHARED)
    for epochs in (1, 2):
        run = once(tmp_path, lambda run: len(run.log(Epoch)) >= epochs, command)  # noqa: B023 - used at once
        time.sleep(moments.uniform(0, 2))
        os.kill(moments.choice(workers_of(cluster)), signal.SIGKILL)
    err = ended(command)
    assert err.count("its worker is gone") == 2, err
    assert len(resumed(run)) == 2 and all(step > 0 for step in resumed(run))
    assert log_of(run) == log_of(undisturbed)
    assert digest(run.path / WEIGHTS) == digest(undisturbed.path / WEIGHTS)


@pytest.mark.slow
def test_a_run_is_kept_on_a_store(cluster: Any, tmp_path: Path) -> None:
    """Two workers on two nodes, stopped by Ctrl-C, go on as one; the run lives on an object store."""
    url = f"file://{tmp_path}/store"
    command = start(tmp_path, "--cluster", cluster.address, "--workers", "2", "--storage", url)
    run = once(tmp_path, lambda run: any(tmp_path.glob("store/*/*/*/log.jsonl")), command)
    command.send_signal(signal.SIGINT)
    assert f"--resume {run.path}" in ended(command, 130)
    assert not run.finished
    err = ended(start(tmp_path, "--resume", str(run.path), "--cluster", cluster.address, "--workers", "1"))
    assert "goes on at step" in err

    ended(start(tmp_path / "whole", "--threads", "1"))
    (expected,) = every(tmp_path / "whole" / "runs")
    assert resumed(run)[0] > 0
    assert len(run.log(Epoch)) == len(expected.log(Epoch))
    # Later epochs drift apart by rounding alone: weights changed by 1e-7, or two threads, move losses by 4 to 8 %.
    losses = [one.log(Epoch)[0].train_loss for one in (run, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


@pytest.mark.slow
def test_what_cannot_be(cluster: Any, tmp_path: Path) -> None:
    refused = {
        ("--workers", "3"): "--workers 3: each asks for 1 CPU",
        ("--threads", "2"): "--workers 1: each asks for 2 CPU",
        ("--storage", "gopher://there"): "--storage gopher://there",
    }
    for words, rule in refused.items():
        err = ended(start(tmp_path, "--cluster", cluster.address, *words), 2)
        assert rule in err and "Traceback" not in err
    err = ended(start(tmp_path, "--cluster", "127.0.0.2:1"), 2)
    assert "--cluster 127.0.0.2:1" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--workers 2", "--workers needs --cluster"),
        ("--storage /shared", "--storage needs --cluster"),
        ("--cluster local --storage shared --runs here", "--runs cannot be given"),
    ],
)
@pytest.mark.parametrize("command", ["retrain last", "search"])
def test_options_that_need_each_other(nas: Callable[..., Any], command: str, words: str, rule: str) -> None:
    status, _, err = nas(*command.split(), *words.split())
    assert status == 2 and rule in err


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        ("--workers 3", "--workers 3: a --batch of 16"),
        ("--workers 16", "fewer than two images for each"),
        ("--workers 2 --method darts-pt", "nas derive RUN --select perturbation"),
    ],
)
def test_searches_that_workers_cannot_share(nas: Callable[..., Any], tmp_path: Path, words: str, rule: str) -> None:
    line = "search --preset quick --data digits --limit 400 --batch 16 --cluster local"
    status, _, err = nas(*line.split(), *words.split())
    assert status == 2 and rule in err and len(err.splitlines()) == 1
    assert not (tmp_path / "runs").exists()


def test_a_death_explains_the_errors_of_the_rest() -> None:
    well, bug = Outcome(), Outcome(bug=RuntimeError("Connection closed by peer"))
    death, mistake = Outcome(death="its worker is gone"), Outcome(mistake="cannot write log.jsonl")
    assert joint_outcome([well, well]) == well
    assert joint_outcome([bug, death]) == death
    assert joint_outcome([bug, mistake]) == mistake
    assert joint_outcome([death, mistake]) == mistake
    with pytest.raises(RuntimeError, match="Connection"):
        joint_outcome([well, bug])
