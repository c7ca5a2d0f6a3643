"""Many networks and seeds: what is reported, and what is not claimed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from nas.architecture import of_genotype
from nas.cells.genotype import read
from nas.execution import Execution
from nas.reports.comparison import NetworkSummary, combine, notes, summarise, table
from nas.run.folder import Run, create, find
from nas.run.live import progress
from nas.run.results import Rank, SearchRanking, TrainResult
from nas.run.spec import Candidate, SearchSpec, Size
from nas.settings import SearchSettings
from tests.conftest import digest

Nas = Callable[..., tuple[int, str, str]]
GENOTYPES = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text()
SMALL = ("--preset", "quick", "--channels", "4", "--cells", "3", "--epochs", "1", "--batch", "16")


RESULT = TrainResult(
    test_accuracy=None,
    test_loss=0.0,
    valid_accuracy=None,
    params=1000,
    madds=2_000_000,
    seed=0,
    recipe="0",
    seconds=360.0,
    hardware="none",
    test_openings=1,
)


def trained(accuracies: list[float], name: str = "c1") -> NetworkSummary:
    results = [replace(RESULT, test_accuracy=value, seed=seed) for seed, value in enumerate(accuracies)]
    return summarise(Candidate(name, "x"), results)


def text(networks: list[NetworkSummary]) -> str:
    return table(networks).text(10_000)


def test_summary() -> None:
    found = trained([0.1, 0.2, 0.3])
    assert found.test_accuracy == pytest.approx(0.2) and found.test_accuracy_deviation == pytest.approx(0.1)
    assert found.test_accuracy_interval == pytest.approx((0.2 - 0.248414, 0.2 + 0.248414), abs=1e-5)
    assert (found.n, found.device_hours, found.deviation_is_over) == (3, 0.3, "retraining seeds of one cell")


def test_one_seed_prints_no_interval_and_claims_nothing() -> None:
    one, two = trained([0.9]), trained([0.5], "c2")
    assert "to" not in text([one]).splitlines()[1]
    (found,) = combine([one, two]).differences
    assert not found.counts and found.p is None
    assert found.verdict == (
        "c1 and c2: no difference can be called (40.00 points, 1 seed a cell, at least 3 are needed)"
    )


def test_a_small_difference_is_not_a_win() -> None:
    result = combine([trained([0.90, 0.91, 0.92]), trained([0.905, 0.915, 0.925], "c2")])
    (found,) = result.differences
    assert (found.better, found.counts, found.seeds_needed) == ("c2", False, 64)
    assert "about 64 seeds a cell" in found.verdict and "better" not in found.verdict
    assert "deviation" in notes(result)[0]


def test_a_clear_one_is() -> None:
    result = combine([trained([0.80, 0.81, 0.82]), trained([0.90, 0.91, 0.92], "c2"), trained([0.9, 0.91, 0.92], "c3")])
    found = {(each.better, each.other): each for each in result.differences}
    assert found["c2", "c1"].verdict.startswith("c2 is better than c1: 10.00 points, p = ")
    assert not found["c2", "c3"].counts and "p = 1" in found["c2", "c3"].verdict
    assert notes(result)[-1] == "3 comparisons: p is not corrected for their number"


@pytest.mark.filterwarnings("ignore:data cifar10")
def test_cells_times_seeds(nas: Nas, tmp_path: Path) -> None:
    for name in ("DARTS_V2", "NASNet"):
        (tmp_path / f"{name}.txt").write_text(GENOTYPES.split(f"{name} = ")[1].splitlines()[0])
    status, out, err = nas("retrain", "DARTS_V2.txt", "NASNet.txt", *SMALL, "--seeds", "0,1", "--json")
    assert status == 0, err
    found = json.loads(out)
    run = find("last", tmp_path / "runs")
    assert [child.path.name for child in run.children] == ["c1-s0", "c1-s1", "c2-s0", "c2-s1"]
    files = [tmp_path / "DARTS_V2.txt", tmp_path / "NASNet.txt"]
    assert [(each["source"], each["sha256"], each["n"]) for each in found["networks"]] == [
        (str(file), digest(file), 2) for file in files
    ]
    for network in found["networks"]:
        accuracies = [
            child.result(TrainResult).test_accuracy for child in run.children if network["name"] in child.path.name
        ]
        assert network["test_accuracies"] == accuracies
        assert network["params"] == Run(run.path / f"{network['name']}-s0").result(TrainResult).params
    assert found["networks"][0]["params"] != found["networks"][1]["params"]
    assert len(progress(run.children).values) == 4

    for words in (("show", str(run.path)), ("retrain", "--resume", str(run.path))):
        status, out, _ = nas(*words)
        assert status == 0 and "95 % interval" in out and "NASNet.txt" in out and "no difference can be called" in out
    status, out, _ = nas("runs", "--json")
    assert status == 0 and json.loads(out)[0]["state"] == "finished"


@pytest.mark.filterwarnings("ignore:data cifar10", "ignore:.*is the same network as.*both are trained")
def test_the_best_of_a_ranking(nas: Nas, tmp_path: Path) -> None:
    spec = SearchSpec(settings=SearchSettings(), execution=Execution(), final=Size(36, 20))
    search = create(tmp_path / "runs", "search", spec)
    architecture = of_genotype(read(GENOTYPES.split("DARTS_V2 = ")[1].splitlines()[0]))
    for seed in (0, 1, 2):
        search.child(f"s{seed}", spec).write("architecture.json", architecture.document())
    ranks = tuple(Rank(seed, 0.5, 1000) for seed in (2, 0, 1))
    search.write("result.json", SearchRanking(ranking=ranks, best="s2", space="darts"))
    status, out, err = nas("retrain", str(search.path), *SMALL, "--best", "2", "--json")
    assert status == 0, err
    ranking = [str(search.path / f"s{seed}") for seed in (2, 0, 1)]
    assert [network["source"] for network in json.loads(out)["networks"]] == ranking[:2]
    status, _, err = nas("retrain", str(search.path), *SMALL, "--best", "4")
    assert status == 2 and "ranks 3 cells" in err
    status, _, err = nas("retrain", ranking[0], *SMALL, "--best", "1")
    assert status == 2 and "has no ranking" in err
    status, _, err = nas("retrain", ranking[0], ranking[0], *SMALL)
    assert status == 2 and "named twice" in err
