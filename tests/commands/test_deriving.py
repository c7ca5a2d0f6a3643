"""nas derive, through the command line: selections side by side, limits, what is written, what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from nas import derive
from nas.cells.genotype import read
from nas.commands import deriving
from nas.commands.deriving import resolve_derive
from nas.commands.targets import architecture_of
from nas.costs.count import count
from nas.errors import UsageError
from nas.run.folder import Run, find
from nas.run.results import DeriveResult, SearchResult
from nas.run.spec import SearchSpec
from nas.settings import DeriveSettings, SearchSettings, make

Nas = Callable[..., tuple[int, str, str]]
SPACE = Path(__file__).parents[1] / "small_space.toml"
SMALL = ("--space", str(SPACE), "--data", "digits", "--limit", "64", "--channels", "2", "--cells", "2", "--batch", "8")
FINAL = ("--final-channels", "4", "--final-cells", "3")
SEARCH = ("search", *SMALL, *FINAL, "--epochs", "1", "--alpha-lr", "0.1")


def searched(nas: Nas, folder: Path, *words: str) -> Run:
    status, _, err = nas(*SEARCH, *words)
    assert status == 0, err
    return find("last", folder / "runs")


def madds_of(path: Path) -> int:
    architecture = architecture_of(str(path))
    return count(architecture.build_meta(), architecture.input).madds


def test_selections_side_by_side(nas: Nas, tmp_path: Path) -> None:
    source = searched(nas, tmp_path)
    plain = source.result(SearchResult)
    words = ("--select", "strongest,budget,threshold", "--max-madds", str(plain.madds - 1), "--threshold", "0.01")
    status, out, err = nas("derive", str(source.path), *words, "--images", "16", "--curve", "--json")
    assert status == 0, err
    run = find("last", tmp_path / "runs")
    assert json.loads(out)["run"] == str(run.path.relative_to(tmp_path))
    result = run.result(DeriveResult)
    strongest, budget, threshold = result.cells
    assert [cell.select for cell in result.cells] == ["strongest", "budget", "threshold"]
    assert result.images == 16 and (result.epoch, result.epochs) == (1, 1)
    assert strongest.changed == 0 and strongest.genotype == threshold.genotype
    assert (strongest.madds, strongest.params) == (plain.madds, plain.params)
    assert budget.madds < plain.madds and budget.changed > 0 and budget.log_strength < strongest.log_strength
    assert read((run.path / "genotype-strongest.json").read_text()) == read((source.path / "genotype.json").read_text())
    rows = (run.path / "curve.csv").read_text().splitlines()
    assert rows[0] == "log_strength,madds,params" and f",{strongest.madds}," in rows[1]
    assert any(f",{budget.madds}," in row for row in rows[2:])
    for name in ("curve.png", "cells-budget.svg"):
        assert (run.path / name).stat().st_size > 500
    assert not (run.path / "genotype.json").exists(), "three cells: none is the run's"

    status, out, err = nas("derive", "--resume", str(run.path))
    assert status == 0 and "is finished" in err and budget.genotype in out
    status, out, err = nas("show", str(run.path))
    assert status == 0 and budget.genotype in out, err
    status, _, err = nas("retrain", str(run.path))
    assert status == 2 and "genotype-budget.json" in err and err.count("\n") == 1
    words = (
        "--preset",
        "quick",
        "--epochs",
        "1",
        "--data",
        "digits",
        "--limit",
        "64",
        "--channels",
        "4",
        "--cells",
        "3",
    )
    status, _, err = nas("retrain", str(run.path / "genotype-budget.json"), *words, "--batch", "16")
    assert status == 0, err
    assert nas("runs")[0] == 0


def test_partial_channels_are_not_perturbed() -> None:
    """As nas search refuses it."""
    with pytest.raises(UsageError, match="would weaken what passes by"):
        resolve_derive(DeriveSettings(select="perturbation"), make(SearchSettings, {"partial": 4}))


def test_it_computes_with_the_back_end_that_is_wanted(
    nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, backends = searched(nas, tmp_path), list[str]()
    build = deriving.build_supernet
    monkeypatch.setattr(deriving, "build_supernet", lambda *words: backends.append(words[3]) or build(*words))
    derive(source, images=8, backend="library", threads=1)
    assert backends == ["library"]
    with pytest.raises(UsageError, match='--backend "fast"'):
        derive(source, backend="fast")


def test_one_selection_is_retrained_by_its_run(nas: Nas, tmp_path: Path) -> None:
    source = searched(nas, tmp_path)
    status, _, err = nas("derive", "last", "--select", "budget", "--max-params", "1M", "--final-cells", "2")
    assert status == 0, err
    run = find("last", tmp_path / "runs")
    result = run.result(DeriveResult)
    assert result.madds == result.cells[0].madds == madds_of(run.path / "architecture.json")
    assert result.cells[0].genotype == read((source.path / "genotype.json").read_text()).digest
    assert result.madds != source.result(SearchResult).madds, "of another size"


def test_a_search_keeps_its_limit(nas: Nas, tmp_path: Path) -> None:
    free = searched(nas, tmp_path).result(SearchResult)
    run = searched(nas, tmp_path, "--max-madds", str(free.madds - 1))
    result = run.result(SearchResult)
    assert result.madds < free.madds and result.madds == madds_of(run.path / "architecture.json")
    before = len(list((tmp_path / "runs").iterdir()))
    for words in ((*SEARCH, "--max-madds", "1K"), ("derive", str(run.path), "--max-madds", "1K")):
        status, out, err = nas(*words)
        assert status == 2 and not out and err.count("\n") == 1
        assert "--max-madds" in err and "the least possible is" in err
    assert len(list((tmp_path / "runs").iterdir())) == before, "said before a run folder is made"


def test_a_search_selects_by_perturbation(nas: Nas, tmp_path: Path) -> None:
    run = searched(nas, tmp_path, "--select", "perturbation", "--limit", "32")
    inside = run.path / "perturbation"
    assert (inside / "genotype.json").read_text() == (run.path / "genotype.json").read_text()
    (cell,) = Run(inside).result(DeriveResult).cells
    assert cell.select == "perturbation" and cell.tuned_accuracy is not None
    assert cell.madds == run.result(SearchResult).madds
    own = resolve_derive(DeriveSettings(), run.spec(SearchSpec).settings)
    assert own.selections == ["perturbation"], "the search's own selection is the usual one"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--select", "weakest"), '--select "weakest"'),
        (("--select", "budget"), "needs --max-madds or --max-params"),
        (("--select", "strongest", "--max-madds", "1M"), "a limit is kept by --select budget alone"),
        (("--max-madds", "1M", "--max-params", "many"), '--max-params "many"'),
        (("--images", "4"), "--images 4: at least a batch of the search is needed, 8 images"),
        (("--threshold", "0.999", "--select", "threshold"), "an input has"),
    ],
)
def test_what_is_refused(nas: Nas, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    searched(nas, tmp_path)
    status, out, err = nas("derive", "last", *words)
    assert status == 2 and not out and message in err and err.count("\n") == 1


def test_of_other_runs(nas: Nas, tmp_path: Path) -> None:
    source = searched(nas, tmp_path)
    assert nas("derive")[0] == 2
    assert nas("derive", "last", "--select", "strongest")[0] == 0
    status, _, err = nas("derive", "last")
    assert status == 2 and "is no search, but a derive" in err
    (source.path / "result.json").unlink()
    settings = (source.path / "settings.json").read_text()
    (source.path / "settings.json").write_text(settings.replace('"epochs": 1,', '"epochs": 3,'))
    status, out, err = nas("derive", str(source.path))
    assert status == 0 and "the search is not finished: its supernet after epoch 1 of 3" in out, err
    (source.path / "checkpoint" / "latest.json").unlink()
    (source.path / "checkpoint").rename(tmp_path / "gone")
    status, out, err = nas("derive", str(source.path))
    assert status == 2 and "has no checkpoint yet" in err


def test_paths_have_no_mixture(nas: Nas, tmp_path: Path) -> None:
    source = searched(nas, tmp_path, "--relaxation", "path")
    status, _, err = nas("derive", str(source.path), "--select", "strongest")
    assert status == 0, err
    status, _, err = nas("derive", str(source.path), "--select", "perturbation")
    assert status == 2 and "no mixture" in err
    assert make(SearchSettings, {"relaxation": "path"}).select == "strongest"
