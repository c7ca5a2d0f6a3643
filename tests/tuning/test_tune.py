"""Tuning by the command line, on digits: results, resuming after kills, workers, Ray with a node killed."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch

import pytest
import torch

from nas.data.tensors import pack
from nas.run.folder import Run, find
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings, recipe_hash
from nas.space import shipped
from nas.tuning import objective, tuner
from nas.tuning.results import TuneResult
from nas.tuning.workers import _perform

Nas = Callable[..., tuple[int, str, str]]
RECIPE = ("--data", "digits", "--preset", "quick", "--epochs", "2", "--limit", "80", "--batch", "32")
SMALL = ("tune", "--space", "mobilenet_v2", "--budget", "1M", *RECIPE, "--no-published", "--tune", "expansion")
ROOT = Path(__file__).parents[2]


def trials(run: Path) -> list[dict[str, str]]:
    with (run / "trials.csv").open() as file:
        return list(csv.DictReader(file))


def points(run: Path) -> list[tuple[str, str, str, str, str]]:
    """What was drawn and what came of it, without times."""
    return [(row["study"], row["trial"], row["state"], row["values"], row["accuracy"]) for row in trials(run)]


def test_a_study_and_its_files(nas: Nas, tmp_path: Path) -> None:
    budgets = ("--budget", "1M", "--budget", "1.5M")
    status, out, err = nas(
        "tune", "--space", "mobilenet_v2", *budgets, *RECIPE, "--trials", "3", "--seeds", "0,1", "--json"
    )
    assert status == 0, err
    result = json.loads(out)
    run = Path(result["run"])
    assert len(result["best"]) == 4 and len(result["studies"]) == 4 and len(result["published"]) >= 1
    for entry in result["best"]:
        assert (
            entry["budget"] * 0.97 <= entry["budget_madds"] <= entry["budget"]
            and entry["madds"] == entry["budget_madds"]
        )
    assert [row["n"] for row in result["finals"]] == [2, 2] and result["finals"][0]["interval"] is not None
    for row in result["finals"]:
        low, high = row["interval"]
        assert low <= row["test_accuracy"] <= high
    assert find("last", run.parent).result(TuneResult).recipe == recipe_hash(TrainSettings(**result["settings"]))
    rows = trials(run)
    assert sum(row["state"] in ("complete", "pruned") for row in rows) == 12
    assert all(row["accuracy"] for row in rows if row["state"] == "complete")
    front = json.loads((run / "pareto.json").read_text())["front"]
    assert front and all(one["sampler"] == "tpe" for one in front)
    assert (run / "front.png").read_bytes().startswith(b"\x89PNG")
    assert (run / "front.svg").is_file() and "<svg" in (run / "front.html").read_text()
    assert not list(run.rglob("checkpoint")), "a trial that is done keeps its weights alone"
    for row in rows:
        folder = run / "trials" / row["study"] / f"{int(row['trial']):04d}"
        assert (
            row["state"] == "fail" or json.loads((folder / "settings.json").read_text())["settings"]["validation"] == 16
        )
        if row["state"] == "complete":
            assert json.loads((folder / "result.json").read_text())["test_openings"] == 0
    with closing(sqlite3.connect(run / "study.db")) as database:
        assert database.execute("select count(*) from studies").fetchone() == (4,)

    status, out, err = nas("show", str(run))
    assert status == 0 and "1.5M" in out and "Best trials" in out and "draws rejected" in out, err
    winner = run / "winners" / "mobilenet_v2-1M" / "architecture.json"
    best = next(entry for entry in result["best"] if entry["budget"] == 1_000_000)
    status, out, err = nas("retrain", str(winner), *RECIPE, "--image-size", str(best["image_size"]), "--json")
    assert status == 0 and json.loads(out)["madds"] == best["madds"], err

    status, _, err = nas("tune", "--resume", str(run))
    assert status == 0 and "is finished" in err


def test_points_that_exist_only_once_are_trained_once(nas: Nas) -> None:
    status, out, err = nas(*SMALL, "--set", "identity=1", "--trials", "40", "--epochs", "1", "--no-control", "--json")
    assert status == 0, err
    result = json.loads(out)
    (study,) = result["studies"]
    assert study["exhausted"] and study["trained"] < 20
    assert study["trained"] + study["rejected"].get("above the budget at the smallest width", 0) <= 20
    values = [row["values"] for row in trials(Path(result["run"])) if row["values"]]
    assert len(set(values)) == len(values) == study["trained"]


def test_a_trial_that_fails_fails_alone(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials, a published setting, a last training: what there is no memory for is counted and named."""
    import torch

    from nas.errors import OutOfMemory

    errors = {"-tpe/0001": torch.OutOfMemoryError("CUDA out\nof memory"), "published": MemoryError("none left")}
    errors |= {
        "-random/0000": OutOfMemory("--batch 32 needs 9 GiB"),
        "M-s1": RuntimeError("odd"),
        "-random/0001": KeyError,
    }
    train = objective.train

    def scarce(run: Run, *arguments: Any, **options: Any) -> None:
        for name, error in errors.items():
            if name in str(run.path):
                raise error
        train(run, *arguments, **options)

    monkeypatch.setattr(objective, "train", scarce)
    words = [word for word in SMALL if word != "--no-published"]
    status, out, err = nas(*words, "--trials", "2", "--epochs", "1", "--seeds", "0,1", "--json")
    assert status == 0, err
    assert "tpe/0001  failed: OutOfMemoryError: CUDA out of memory" in err
    result = find("last", Path("runs")).result(TuneResult)
    assert [(study.trained, sum(study.failed.values())) for study in result.studies] == [(1, 1), (0, 2)]
    assert not result.published and [(one.n, one.seeds) for one in result.finals] == [(1, (0,))]
    rows = trials(Path(json.loads(out)["run"]))
    assert [row["failed"] for row in rows if row["failed"]][1:] == ["--batch 32 needs 9 GiB", "KeyError"]
    status, out, _ = nas("show", "last")
    assert status == 0 and "1 failed (1: OutOfMemoryError: CUDA out of memory)" in out
    errors["trials"] = MemoryError("none left")
    status, _, err = nas(*SMALL, "--trials", "2", "--no-control")
    assert status == 2 and "no trial could be trained to its end: MemoryError: none left" in err


def test_a_process_that_can_compile_no_more_kernels(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    """oneDNN's, where memory ran out: the trial has failed, and the others are left to another process."""
    train, primitive = objective.train, RuntimeError("could not create a primitive")
    monkeypatch.setattr(objective, "train", Mock(side_effect=primitive))
    monkeypatch.setattr(objective, "CASUALTIES", [])
    status, _, err = nas(*SMALL, "--trials", "3", "--sampler", "random", "--epochs", "1", "--no-control")
    assert status == 2 and "nas: memory ran out" in err and "--resume" in err
    with pytest.raises(SystemExit), patch("os._exit", sys.exit):
        _perform(Mock())
    monkeypatch.setattr(objective, "train", train)
    monkeypatch.setattr(objective, "CASUALTIES", [])
    status, _, err = nas("tune", "--resume", "last")
    assert status == 0, err
    (study,) = find("last", Path("runs")).result(TuneResult).studies
    assert (study.trained, study.failed) == (2, {"RuntimeError: could not create a primitive": 1})


def test_killed_after_a_trial_whose_checkpoint_is_still_there(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    words = (*SMALL, "--trials", "2", "--sampler", "random", "--no-control")
    with monkeypatch.context() as killed:
        killed.setattr(tuner, "drop_checkpoints", Mock(side_effect=KeyboardInterrupt))
        assert nas(*words)[0] == 130
    run = find("last", Path("runs")).path
    assert list(run.rglob("checkpoint"))
    assert nas("tune", "--resume", "last")[0] == 0 and not list(run.rglob("checkpoint"))


def test_nsga2_covers_all_budgets_in_one_study(nas: Nas) -> None:
    status, out, err = nas(
        *SMALL, "--budget", "1.2M", "--sampler", "nsga2", "--trials", "4", "--epochs", "1", "--no-control", "--json"
    )
    assert status == 0, err
    (study,) = json.loads(out)["studies"]
    assert study["objectives"] == ["accuracy", "madds"] and study["study"] == "mobilenet_v2-1M_1.2M-nsga2"


def test_a_knob_that_costs_nothing_brings_latency(nas: Nas) -> None:
    wide = ("--space", "mobilenext", "--budget", "3M", "--tune", "identity", "--set", "reduction=6", "--trials", "2")
    status, out, err = nas("tune", *wide, *RECIPE, "--no-published", "--no-control", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["studies"][0]["objectives"] == ["accuracy", "latency"] and result["best"][0]["latency_ms"] > 0


def test_several_seeds_judge_a_trial(nas: Nas) -> None:
    """And the published setting beside them."""
    words = [word for word in SMALL if word != "--no-published"]
    words += ["--set", "identity=1", "--trials", "2", "--no-control", "--epochs", "1", "--trial-seeds", "3"]
    status, out, err = nas(*words, "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["studies"][0]["pruner"] == "wilcoxon"
    best, published, run = result["best"][0], result["published"][0], Path(result["run"])
    for one, folder in ((best, best["folder"]), (published, f"published/{published['name']}")):
        folders = [run / folder, *sorted((run / folder).glob("seed-*"))]
        single = [json.loads((folder / "result.json").read_text()) for folder in folders]
        assert [each["seed"] for each in single] == [0, 1, 2]
        assert one["accuracy"] == pytest.approx(sum(each["valid_accuracy"] for each in single) / 3)
    status, out, _ = nas("show", str(run))
    assert status == 0 and "seeds 0 to 2, n = 3 each" in out
    (entry,) = json.loads(nas("compare", str(run), "--json")[1])["entries"]
    assert sum(entry["accuracies"]) / 3 == pytest.approx(best["accuracy"])


def test_images_of_ones_own_are_trained_at_the_size_that_is_counted(nas: Nas, tmp_path: Path) -> None:
    images = torch.randint(0, 256, (40, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    file = pack((images, torch.arange(40) % 2), None, tmp_path)
    words = ("--space", "mobilenet_v2", "--budget", "1M", "--set", "resolution=0.75", "--tune", "expansion")
    small = ("--preset", "quick", "--data", str(file), "--epochs", "1", "--batch", "8", "--trials", "1")
    status, out, err = nas("tune", *words, *small, "--no-control", "--no-published", "--json")
    assert status == 0, err
    best, run = json.loads(out)["best"][0], Path(json.loads(out)["run"])
    assert best["image_size"] == Run(run / best["folder"]).spec(TrainSpec).settings.image_size == 12


def test_a_found_cell_is_tuned_and_retrained(nas: Nas, tmp_path: Path) -> None:
    pairs = "[('sandglass_3x3', 0), ('skip_connect', 1)]"
    (tmp_path / "cell.txt").write_text(
        f"Genotype(normal={pairs}, normal_concat=[2], reduce={pairs}, reduce_concat=[2])"
    )
    status, out, err = nas(
        "tune", "--genotype", "cell.txt", "--budget", "5M", "--set", "cells=3", *RECIPE, "--objectives", "accuracy",
        "--trials", "2", "--epochs", "1", "--no-control", "--json",
    )  # fmt: skip
    assert status == 0, err
    result = json.loads(out)
    run = Path(result["run"])
    values = result["best"][0]["values"]
    assert {"channels", "sandglass_3x3.t", "sandglass_3x3.identity"} == set(values)
    assert result["finals"][0]["n"] == 1 and result["finals"][0]["interval"] is None
    document = json.loads((run / "architecture.json").read_text())
    assert document["genotype"]["ops"]["sandglass_3x3"]["t"] == values["sandglass_3x3.t"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "20M"), "needs --space"),
        (("--space", "mobilenext"), "and --budget"),
        (("--space", "mobilenext", "--budget", "much"), '--budget "much"'),
        (("--space", "mobilenext", "--budget", "90K"), "it reaches"),
        (("--space", "mobilenexd", "--budget", "20M"), "did you mean mobilenext"),
        (("--space", "hbonet", "--budget", "20M", "--set", "contraction"), "must be a knob and a value"),
        (("--space", "hbonet", "--budget", "20M", "--objectives", "speed"), "--objectives"),
        (("--space", "hbonet", "--budget", "20M", "--pruner", "median", "--sampler", "nsga2"), "are not pruned"),
        (("--space", "hbonet", "--budget", "20M", "--pruner", "wilcoxon"), "needs --trial-seeds"),
        (("--space", "hbonet", "--budget", "20M", "--pruner", "halving", "--trial-seeds", "2"), "compares seeds"),
        (("--space", "hbonet", "--budget", "20M", "--latency-table", "none.json"), "cannot read none.json"),
        (("--space", "hbonet", "--budget", "20M", "--freeze", "2"), "no trained weights"),
        (("--space", "hbonet", "--budget", "20M", "--gpus", "0.5"), "--gpus 0.5 needs --cluster"),
        (("--space", "hbonet", "--budget", "20M", "--set", "width=1"), "--set width"),
        (("--space", "hbonet", "--budget", "20M", "--set", "contraction=null"), "must be a knob and a value"),
        (("--space", "hbonet", "--space", "hbonet.toml", "--budget", "20M"), "two spaces are called hbonet"),
    ],
)
def test_mistakes_make_no_run(nas: Nas, tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    shutil.copy(shipped() / "hbonet.toml", "hbonet.toml")
    status, out, err = nas("tune", *arguments, "--data", "digits")
    assert status == 2 and said in err and out == "" and err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("option", ["--engine", "--workers"])
def test_options_of_other_commands_are_unknown(nas: Nas, option: str) -> None:
    status, _, err = nas("tune", "--space", "hbonet", "--budget", "20M", option, "2")
    assert status == 2 and f"No such option: {option}" in err and "(nas tune --help)" in err


def begin(arguments: tuple[str, ...], folder: Path) -> "subprocess.Popen[bytes]":
    """The command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NAS_RUNS": str(folder), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *arguments]
    nowhere = subprocess.DEVNULL
    return subprocess.Popen(command, env=environment, stderr=nowhere, stdout=nowhere, start_new_session=True)


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def lines(folder: Path) -> int:
    return sum(path.read_text().count("\n") for path in folder.glob("*/trials/*/*/log.jsonl"))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_and_resumed_it_is_as_if_it_had_not_been(nas: Nas, tmp_path: Path, number: int) -> None:
    study = (*SMALL, "--trials", "4", "--no-control", "--pruner", "none")
    status, out, err = nas(*study, "--json")
    assert status == 0, err
    whole = points(Path(json.loads(out)["run"]))

    other = tmp_path / "killed"
    process = begin(study, other)
    wait_for(lambda: lines(other) >= 3)  # in the middle of the second trial
    process.send_signal(number)
    status = process.wait(120)
    assert status == (-9 if number == signal.SIGKILL else 143)
    run = find("last", other)
    assert not run.finished
    status, _, err = nas("tune", "--resume", str(run.path))
    assert status == 0, err
    assert points(run.path) == whole


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_cluster_of_its_own_is_killed_and_resumed(nas: Nas, tmp_path: Path, number: int) -> None:
    study = (*SMALL, "--trials", "4", "--no-control", "--pruner", "none", "--threads", "1")
    status, out, err = nas(*study, "--json")
    assert status == 0, err
    whole = points(Path(json.loads(out)["run"]))

    other = tmp_path / "killed"
    process = begin((*study, "--cluster", "local", "--parallel", "1"), other)
    wait_for(lambda: lines(other) >= 3)  # in the middle of the second trial
    os.kill(process.pid, number) if number == signal.SIGKILL else os.killpg(process.pid, number)  # as Ctrl-C does
    assert process.wait(120) == (-9 if number == signal.SIGKILL else 130)
    run = find("last", other)
    assert not run.finished
    assert begin(("tune", "--resume", str(run.path), "--cluster", "local"), other).wait(300) == 0
    assert points(run.path) == whole


def test_a_worker_that_is_killed_costs_no_trial(tmp_path: Path) -> None:
    process = begin((*SMALL, "--trials", "3", "--parallel", "2", "--threads", "1", "--pruner", "none"), tmp_path)
    wait_for(lambda: lines(tmp_path) >= 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    workers = [int(child) for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(300) == 0
    rows = trials(find("last", tmp_path).path)
    assert sum(row["state"] == "complete" for row in rows) == 6


def test_workers_save_when_the_driver_is_told_to_stop(nas: Nas, tmp_path: Path) -> None:
    other = tmp_path / "stopped"
    study = (*SMALL, "--trials", "1", "--epochs", "20", "--parallel", "2", "--threads", "1", "--pruner", "none")
    process = begin(study, other)
    wait_for(lambda: len(list(other.glob("*/trials/*/0000/log.jsonl"))) == 2)  # one of each study, both begun
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 143
    run = find("last", other)
    logs = {path.parent: path.read_text() for path in run.path.glob("trials/*/*/log.jsonl")}
    stopped = {folder: log for folder, log in logs.items() if not (folder / "result.json").exists()}
    assert stopped, "one may have been at its end already, not both"
    assert nas("tune", "--resume", str(run.path))[0] == 0
    for folder, log in stopped.items():
        assert (folder / "log.jsonl").read_text().startswith(log)
        events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        assert [event["event"] for event in events] == ["started", "ended", "resumed"] and events[2]["step"] > 0
    assert [row["state"] for row in trials(run.path)] == ["complete", "complete"]


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    monkeypatch.delenv("NAS_DATA", raising=False)
    node = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "node_ip_address": "127.0.0.2"})
    second = cluster.add_node(**node, node_ip_address="127.0.0.3")
    yield cluster, second
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.filterwarnings("ignore")  # Ray's own, of its processes' ends
def test_ray_finishes_all_trials_when_a_node_dies(nas: Nas, two_nodes: Any, tmp_path: Path) -> None:
    import threading

    cluster, second = two_nodes
    runs = tmp_path / "runs"

    def kill() -> None:
        wait_for(lambda: lines(runs) >= 2)
        cluster.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    ray_options = ("--cluster", cluster.address, "--parallel", "2")
    status, out, err = nas(*SMALL, "--trials", "3", "--pruner", "none", *ray_options, "--threads", "1", "--json")
    killer.join()
    assert status == 0, err
    rows = trials(Path(json.loads(out)["run"]))
    assert sum(row["state"] == "complete" for row in rows) == 6
    values = [(row["study"], row["values"]) for row in rows if row["values"]]
    assert len(set(values)) == len(values)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.filterwarnings("ignore")  # Ray's own, of its processes' ends
def test_a_cluster_outlives_its_driver(nas: Nas, two_nodes: Any, tmp_path: Path, number: int) -> None:
    """The driver of a tuning on two nodes dies; resumed on the cluster, the tuning is as if it had not."""
    study = (*SMALL, "--trials", "4", "--no-control", "--pruner", "none", "--sampler", "random", "--threads", "1")
    status, out, err = nas(*study, "--json")
    assert status == 0, err
    whole = points(Path(json.loads(out)["run"]))

    other, (cluster, _) = tmp_path / "killed", two_nodes
    process = begin((*study, "--cluster", cluster.address, "--parallel", "2"), other)
    wait_for(lambda: lines(other) >= 3, 900)
    process.send_signal(number)
    assert process.wait(300) == (-9 if number == signal.SIGKILL else 143)
    run = find("last", other)
    assert not run.finished
    assert begin(("tune", "--resume", str(run.path), "--cluster", cluster.address), other).wait(900) == 0
    assert points(run.path) == whole
    begun = sorted(path.parent.name for path in run.path.glob("trials/*/*/settings.json"))
    assert begun == ["0000", "0001", "0002", "0003"], "no trial is done twice under another number"


@pytest.mark.filterwarnings("ignore")  # Ray's own, of its processes' ends
def test_the_folder_of_data_reaches_trials_on_a_cluster(
    nas: Nas, two_nodes: Any, cifar: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, _ = two_nodes
    monkeypatch.setenv("NAS_DATA", str(cifar))  # the nodes were started without
    study = ("tune", "--space", "mobilenet_v2", "--budget", "5M", "--data", "cifar10", "--preset", "quick")
    small = ("--epochs", "1", "--batch", "20", "--trials", "1", "--no-control", "--no-published", "--threads", "1")
    status, out, err = nas(*study, *small, "--cluster", cluster.address, "--parallel", "1", "--json")
    assert status == 0, err
    assert json.loads(out)["studies"][0]["trained"] == 1
