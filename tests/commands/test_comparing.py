"""nas compare over runs of every command."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nas.run.folder import find
from tests.commands.test_studying import SMALL as SMALL_STUDY
from tests.commands.test_studying import SPACE
from tests.reports.test_comparison import GENOTYPES

Nas = Callable[..., tuple[int, str, str]]
SMALL = ("--preset", "quick", "--data", "digits", "--limit", "64", "--batch", "16", "--channels", "4", "--cells", "3")
TRAIN = (*SMALL, "--epochs", "1")


@pytest.fixture
def retrained(nas: Nas, tmp_path: Path) -> Callable[..., Path]:
    def retrain(*options: str, name: str = "DARTS_V2") -> Path:
        line = next(line for line in GENOTYPES.splitlines() if line.startswith(f"{name} = "))
        (tmp_path / "cell.txt").write_text(line)
        status, _, err = nas("retrain", "cell.txt", *TRAIN, *options)
        assert status == 0, err
        return find("last", tmp_path / "runs").path

    return retrain


def test_retrainings(nas: Nas, retrained: Callable[..., Path], tmp_path: Path) -> None:
    one, several = retrained(), retrained("--seeds", "1,2")
    status, out, err = nas("compare", str(one), str(several), "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["ranked"] and {len(entry["accuracies"]) for entry in result["entries"]} == {1, 2}
    assert result["ledger"]["test_openings"] == 3
    status, out, _ = nas("compare", str(one), str(several))
    assert status == 0 and "3 retrain finished" in out and "the same for all" in out
    assert nas("evaluate", str(one))[0] == 0
    assert "test set opened 4 times" in nas("runs", "--ledger")[1]

    other = retrained("--lr", "0.2")
    status, out, err = nas("compare", str(one), str(other))
    assert status == 2 and one.name in out, "side by side all the same"
    assert err.count("\n") == 1 and "--lr: 0.1" in err and "0.2" in err and "--unlike" in err
    status, out, err = nas("compare", str(one), str(other), "--unlike")
    assert status == 0 and "ranked though unlike: --lr" in out
    status, _, err = nas("compare", "--published", str(one))
    assert status == 2 and "--data digits (not cifar10)" in err

    document = json.loads((other / "result.json").read_text())
    del document["fingerprint"], document["digest"]
    (other / "result.json").write_text(json.dumps(document))
    status, out, err = nas("compare", str(one), str(other))
    assert status == 2 and f"{other.name} has no fingerprint" in err


def test_searches_and_children(nas: Nas, tmp_path: Path) -> None:
    final = ("--final-channels", "4", "--final-cells", "3")
    status, _, err = nas("search", *SMALL, "--epochs", "1", "--seeds", "0,1", *final)
    assert status == 0, err
    run = find("last", tmp_path / "runs").path
    status, out, err = nas("compare", str(run / "s0"), str(run / "s1"), "--json")
    assert status == 0, err
    assert {entry["name"] for entry in json.loads(out)["entries"]} == {f"{run.name}/s0", f"{run.name}/s1"}
    status, out, _ = nas("compare", str(run), "--json")
    (entry,) = json.loads(out)["entries"]
    assert status == 0 and len(entry["accuracies"]) == 2 and entry["over"] == "searches"
    status, _, err = nas("compare", str(run / "s0"), str(run / "rank-s0"))
    assert status == 2 and "supernet" in err
    status, _, err = nas("derive", str(run / "s0"))
    assert status == 0, err
    assert "fingerprint" in json.loads((find("last", tmp_path / "runs").path / "result.json").read_text())
    status, _, err = nas("compare", "last")
    assert status == 2 and "a derive has no trained network" in err


def test_winners_of_a_tuning(nas: Nas, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    limits = ("--space", "mobilenet_v2", "--budget", "2M", "--budget", "3M", "--trials", "1", "--no-control")
    training = ("--preset", "quick", "--data", "digits", "--limit", "64", "--batch", "16", "--epochs", "1")
    fixed = ("--set", "resolution=1.0", "--no-published")
    status, _, err = nas("tune", *limits, *training, *fixed, "--seeds", "0,1")
    assert status == 0, err
    run = find("last", tmp_path / "runs").path
    compared(nas, f"{run.name}/mobilenet_v2-", "test")
    document = json.loads((run / "result.json").read_text())
    (run / "result.json").write_text(json.dumps({**document, "finals": [], "digest": None}))
    compared(nas, f"{run.name}/mobilenet_v2-", "held-out")
    for path in run.glob("trials/*/0000/result.json"):  # where the driver does not see it
        path.unlink()
    status, out, err = nas("compare", "last")
    assert status == 2 and "held-out" in out and "has no fingerprint" in err


def test_a_study(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(SMALL_STUDY)
    status, _, err = nas("study", "study.toml")
    assert status == 0, err
    run = find("last", tmp_path / "runs").path
    status, out, err = nas("compare", "last", "--json")
    assert status == 0, err
    result = json.loads(out)
    figures = {(entry["name"], entry["over"], len(entry["accuracies"])) for entry in result["entries"]}
    name = f"{run.name}/{SPACE}"
    rest = f"{run.name}/random cells, {SPACE}"
    assert result["ranked"] and figures == {(name, "searches", 2), (rest, "random cells", 3)}
    assert result["ledger"]["test_openings"] == 5


def compared(nas: Nas, stem: str, score: str) -> None:
    status, out, err = nas("compare", "last", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert {entry["name"] for entry in result["entries"]} == {f"{stem}{size}M" for size in (2, 3)}
    assert {entry["score"] for entry in result["entries"]} == {score}
    assert result["ledger"]["test_openings"] == 4 and result["ranked"]


def test_mistakes(nas: Nas, retrained: Callable[..., Path], tmp_path: Path) -> None:
    run = retrained()
    for words, said in (
        ((), "at least one RUN"),
        (("nowhere",), "no run"),
        ((str(run), "last"), "named twice"),
    ):
        status, out, err = nas("compare", *words)
        assert status == 2 and said in err and err.count("\n") == 1 and not out
    (run / "result.json").unlink()
    status, _, err = nas("compare", str(run))
    assert status == 2 and f"nas retrain --resume {run}" in err


def test_published_alone(nas: Nas) -> None:
    status, out, _ = nas("compare", "--published")
    assert status == 0 and "PR-DARTS" in out
    status, out, _ = nas("compare", "--published", "--json")
    assert any(claim["method"] == "DrNAS" for claim in json.loads(out)["claims"])
