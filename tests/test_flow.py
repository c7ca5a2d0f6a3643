"""The whole line through the command line: search, show, retrain, evaluate, list; several seeds; a user's operation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nas import space
from nas.blocks import OPS
from nas.cells.genotype import read
from nas.commands.workloads import DARTS_V2
from nas.run.folder import find
from nas.run.log import Epoch
from nas.run.results import TrainResult

Nas = Callable[..., tuple[int, str, str]]
pytestmark = [pytest.mark.filterwarnings("ignore:data cifar10"), pytest.mark.measuring]
SMALL = ("--data", "cifar10", "--channels", "2", "--cells", "2", "--epochs", "2", "--batch", "8")
FINAL = ("--final-channels", "4", "--final-cells", "3")


def test_search_to_evaluate(nas: Nas, tmp_path: Path) -> None:
    status, out, err = nas("search", "--space", "darts+sandglass:t=3", *SMALL, *FINAL, "--json")
    assert status == 0, err
    run = find("last", tmp_path / "runs")
    assert json.loads(out)["run"] == str(run.path.relative_to(tmp_path))
    for name in (
        "settings.json",
        "space.toml",
        "environment.json",
        "log.jsonl",
        "genotype.json",
        "cells.svg",
        "architecture.json",
    ):
        assert (run.path / name).is_file(), name
    assert space.load(str(run.path / "space.toml")) == space.load("darts+sandglass:t=3")
    entries = [json.loads(line) for line in (run.path / "log.jsonl").read_text().splitlines()]
    wanted = {
        "train_loss",
        "train_accuracy",
        "valid_loss",
        "valid_accuracy",
        "alphas",
        "entropy",
        "skip_share",
        "margin",
        "genotype",
    }
    assert len(entries) == 2 and wanted | {"epoch", "seconds"} == set(entries[1])
    assert set(entries[0]) - set(entries[1]) == {"eigenvalue", "eigenvalue_seconds"}, "every second epoch"
    read((run.path / "genotype.json").read_text())

    status, out, err = nas("retrain", "last", "--preset", "quick", "--epochs", "1", "--batch", "16", "--json")
    assert status == 0, err
    trained = json.loads(out)
    assert 0 <= trained["test_accuracy"] <= 1 and trained["params"] > 0 and trained["test_openings"] == 1

    status, out, err = nas("evaluate", trained["run"], "--json")
    assert status == 0, err
    assert json.loads(out) == {
        "test_accuracy": trained["test_accuracy"],
        "stored_accuracy": trained["test_accuracy"],
        "test_openings": 2,
    }
    status, out, _ = nas("runs", "--json")
    assert [row["state"] for row in json.loads(out)] == ["finished", "finished"]
    status, out, _ = nas("runs")
    assert status == 0 and "search" in out and "retrain" in out

    status, _, err = nas("search", "--resume", str(run.path))
    assert status == 0 and "is finished" in err
    for command in ("retrain", "tune"):
        status, out, err = nas(command, "--resume", str(run.path), *(["--cluster", "local"] * (command == "tune")))
        assert status == 2 and "of nas search" in err and not out and err.count("\n") == 1
    for form in ("svg", "png", "dot", "graphml", "json"):
        status, _, err = nas("show", str(run.path), "--to", form, "--out", f"cell.{form}")
        assert status == 0 and (tmp_path / f"cell.{form}").stat().st_size > 500, err
    status, out, _ = nas("show", trained["run"])
    assert status == 0 and "Genotype(" in out
    for form in ("graphml", "json"):
        assert nas("show", f"cell.{form}") == (0, out, ""), "a graph file is a genotype file"


def test_seeds_are_ranked_without_the_test_set(nas: Nas, tmp_path: Path) -> None:
    status, out, err = nas("search", "--seeds", "0,1", *SMALL, *FINAL, "--json")
    assert status == 0, err
    found = json.loads(out)
    assert sorted(entry["seed"] for entry in found["ranking"]) == [0, 1]
    run = find("last", tmp_path / "runs")
    assert (run.path / "architecture.json").is_file() and (run.path / "s0" / "genotype.json").is_file()
    for child in run.children:
        if child.path.name.startswith("rank"):
            result = child.result(TrainResult)
            assert result.test_accuracy is None and result.test_openings == 0

    status, out, err = nas(
        "retrain", str(run.path), "--preset", "quick", "--epochs", "1", "--batch", "16", "--seeds", "0,1", "--json"
    )
    assert status == 0, err
    trained = json.loads(out)
    (network,) = trained["networks"]
    assert network["n"] == 2 and len(set(network["test_accuracies"])) >= 1 and "deviation_is_over" in network
    assert trained["test_accuracy"] == pytest.approx(sum(network["test_accuracies"]) / 2)


def test_a_users_operation(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def plain(channels, stride, affine, *, kernel=3):\n"
        "    return nn.Sequential(nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),\n"
        "                         nn.BatchNorm2d(channels, affine=affine))\n"
        "OPS = {'plain': plain}\n"
    )
    (tmp_path / "mine.toml").write_text(
        'kind = "cell"\nabout = "mine"\nnodes = 2\n[ops]\nskip_connect = {}\nplain = { kernel = 5 }\n'
    )
    words = ("--space", "mine.toml", *SMALL, *FINAL)
    status, _, err = nas("search", *words)
    assert status == 2 and "plain" in err
    status, _, err = nas("search", *words, "--ops", "mine.py")
    assert status == 0, err
    monkeypatch.delitem(OPS, "plain")
    status, _, err = nas("retrain", "last", "--preset", "quick", "--epochs", "1", "--batch", "16", "--ops", "mine.py")
    assert status == 0, err
    monkeypatch.delitem(OPS, "plain")


def test_a_published_genotype_is_retrained(nas: Nas, tmp_path: Path) -> None:
    text = (Path(__file__).parent / "golden" / "genotypes.txt").read_text().split("NASNet = ")[1].splitlines()[0]
    (tmp_path / "nasnet.txt").write_text(text)
    words = ("--channels", "4", "--cells", "3", "--epochs", "1", "--batch", "16", "--validation", "20")
    status, _, err = nas("retrain", "nasnet.txt", *words, "--json")
    assert status == 0, err
    run = find("last", tmp_path / "runs")
    assert run.log(Epoch)[0].valid_accuracy is not None
    assert json.loads((run.path / "architecture.json").read_text())["auxiliary"] is True


def test_a_macro_network_is_retrained(nas: Nas, tmp_path: Path) -> None:
    status, _, err = nas("cost", "--space", "mobilenext", "--width", "0.1", "--save", "small.json")
    assert status == 0, err
    words = ("retrain", "small.json", "--preset", "quick", "--epochs", "1", "--batch", "16", "--json")
    status, _, err = nas(*words)
    assert status == 2 and "counted at 224×224, 28.08M MAdds; at 32×32 of cifar10, 9.49M" in err, "nobody has chosen"
    assert not (tmp_path / "runs").exists()
    status, out, err = nas(*words, "--data", "cifar10")
    assert status == 0 and "28.08M MAdds; trained at 32×32 of cifar10, 9.49M" in err, err
    document = json.loads((tmp_path / json.loads(out)["run"] / "architecture.json").read_text())
    assert (document["kind"], document["stem"]) == ("macro", "cifar")
    assert (document["input"], document["classes"]) == ([3, 32, 32], 10)


def test_a_training_that_diverges_says_so(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(DARTS_V2)
    words = ("--preset", "quick", "--channels", "4", "--cells", "2", "--epochs", "2", "--batch", "16", "--lr", "1e6")
    status, _, err = nas("retrain", "cell.txt", *words)
    assert status == 0 and "train_loss is no finite number" in err
