"""A study without any training: what is drawn, kept, resumed and stopped."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import cast

import optuna
import pytest

from nas.errors import UsageError
from nas.knobs import Knob, numbers
from nas.run.results import TrainResult
from nas.tuning.budgets import Budgets
from nas.tuning.pruning import stops, storage
from nas.tuning.report import draws, importances, results, summary
from nas.tuning.results import Outcome
from nas.tuning.space import Restriction, family_space
from nas.tuning.study import Study, _scale, _suggest

KNOBS = [numbers("expansion", 1.0, 6.0, 0.5), Knob("resolution", (1.0, 0.75))]
SPACE = family_space("small", "mobilenet_v2", {}, KNOBS, Restriction())
BUDGETS = Budgets(SPACE, (3, 16, 16), 10)


def study(folder: Path, sampler: str = "tpe", pruner: str = "halving", size: int = 4) -> Study:
    return Study(BUDGETS, (2_000_000,), sampler, pruner, ("accuracy",), size, 0, folder / "study.db")


def outcome(accuracy: float | None) -> Outcome:
    if accuracy is None:
        return Outcome(None, 1, 0.0)
    figures = {"params": 1, "madds": 2_000_000, "seed": 0, "recipe": "0", "seconds": 1.0, "hardware": ""}
    result = TrainResult(valid_accuracy=accuracy, test_accuracy=None, test_loss=None, test_openings=0, **figures)  # type: ignore[arg-type]
    return Outcome(result, 3, 0.5)


def finish(one: Study, accuracies: list[float | None]) -> None:
    for accuracy in accuracies:
        trial = one.ask()
        assert trial is not None
        one.tell(trial.address.id, outcome(accuracy))


def test_results_are_the_complete_trials_and_draws_are_all(tmp_path: Path) -> None:
    one = study(tmp_path)
    finish(one, [0.5, None, 0.7, 0.6])
    assert one.ask() is None
    assert [trial.accuracy for trial in results(one)] == [0.5, 0.7, 0.6]
    assert all(0.97 * 2_000_000 <= trial.budget_madds <= 2_000_000 for trial in results(one))
    rows = list(draws(one))
    assert [row["trial"] for row in rows] == list(range(len(rows)))
    assert sum(row["state"] == "pruned" for row in rows) == 1
    whole = summary(one)
    assert (whole.trials, whole.trained, whole.stopped, sum(whole.rejected.values())) == (4, 4, 1, len(rows) - 4)
    assert not importances(one)  # three complete trials


@pytest.mark.parametrize(("low", "high", "step"), [(0.7, 1.0, 0.1), (0.85, 1.0, 0.05), (0.35, 2.0, 0.05), (1, 6, 1)])
def test_the_last_level_is_drawn_as_others_are(low: float, high: float, step: float, tmp_path: Path) -> None:
    from optuna.distributions import FloatDistribution
    from optuna.trial import FixedTrial

    knob = numbers("expansion", low, high, step)
    for level in knob.values:
        assert _suggest(cast(optuna.Trial, FixedTrial({"expansion": level})), knob) == level
    first, size = _scale(knob)
    assert FloatDistribution(first, float(knob.values[-1]), step=size).high == knob.values[-1]


def test_a_path_with_a_question_mark_is_no_url(tmp_path: Path) -> None:
    (tmp_path / "a?%41").mkdir(), (tmp_path / "a?2").mkdir()
    finish(study(tmp_path / "a?%41"), [0.5])
    assert not study(tmp_path / "a?2").trials and len(study(tmp_path / "a?%41").trained) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a?%41", "a?2"]
    assert (tmp_path / "a?%41" / "study.db").is_file()


@pytest.mark.parametrize("sampler", ["tpe", "random", "nsga2"])
def test_a_study_opened_again_draws_what_it_would_have_drawn(tmp_path: Path, sampler: str) -> None:
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    whole, killed = study(tmp_path / "whole", sampler), study(tmp_path / "killed", sampler)
    finish(whole, [0.5, 0.7, 0.6, 0.4])
    finish(killed, [0.5])
    begun = killed.ask()
    assert begun is not None
    again = study(tmp_path / "killed", sampler)
    resumed = again.ask()
    assert resumed is not None and resumed.address == begun.address and resumed.values == begun.values
    again.tell(resumed.address.id, outcome(0.7))
    finish(again, [0.6, 0.4])
    assert [(row["trial"], row.get("values")) for row in draws(again)] == [
        (row["trial"], row.get("values")) for row in draws(whole)
    ]


def test_a_trial_that_falls_behind_is_told_to_stop_and_reports_an_epoch_once(tmp_path: Path) -> None:
    one = study(tmp_path)
    for accuracy, wanted in ((0.5, False), (0.6, False), (0.7, False), (0.1, True)):
        trial = one.ask()
        assert trial is not None
        assert stops(trial.address, 0, accuracy) is wanted
        stops(trial.address, 0, 0.9)  # a resumed trial reports again: the first figure stands
        assert one.optuna.get_trials()[trial.number].intermediate_values == {1: accuracy}
        one.tell(trial.address.id, outcome(None if wanted else accuracy))


def test_a_trial_that_is_worse_seed_by_seed_is_stopped_by_wilcoxon(tmp_path: Path) -> None:
    """Paired seeds: a trial worse on every one of them stops once the signed-rank test can say so (4 of them)."""
    one = study(tmp_path, pruner="wilcoxon")
    good, bad = [0.5, 0.9, 0.6, 0.8, 0.7], [0.49, 0.88, 0.57, 0.76, 0.65]
    first = one.ask()
    assert first and not any(stops(first.address, seed, accuracy) for seed, accuracy in enumerate(good))
    one.tell(first.address.id, outcome(sum(good) / 5))
    second = one.ask()
    assert second and [stops(second.address, seed, bad[seed]) for seed in range(4)] == [False, False, False, True]


def test_optuna_dashboard_is_told_names_and_numbers(tmp_path: Path) -> None:
    one = study(tmp_path)
    finish(one, [0.5])
    assert one.optuna.metric_names == ["accuracy"]
    attributes = one.optuna.trials[0].user_attrs
    assert attributes["madds"] == attributes["drawn"]["budget_madds"] and attributes["params"] == 1
    assert attributes["width"] == attributes["drawn"]["values"]["width"]
    assert attributes["stage_steps"] == sum(attributes["drawn"]["values"].get("steps", []))


def test_trials_of_several_objectives_are_never_stopped(tmp_path: Path) -> None:
    one = Study(BUDGETS, (2_000_000,), "tpe", "none", ("accuracy", "madds"), 2, 0, tmp_path / "study.db")
    trial = one.ask()
    assert trial is not None and not stops(trial.address, 0, 0.0)
    one.tell(trial.address.id, outcome(0.5))
    assert [trial.accuracy for trial in results(one)] == [0.5]


def test_a_value_that_was_changed_is_seen(tmp_path: Path) -> None:
    """Each result stands in two places of the database."""
    finish(study(tmp_path), [0.5, 0.7])
    with closing(sqlite3.connect(tmp_path / "study.db")) as database, database:
        database.execute("UPDATE trial_values SET value = 0.9 WHERE value = 0.7")
    with pytest.raises(UsageError, match=r"study\.db cannot be read .* trial \d+ has two results"):
        study(tmp_path)


@pytest.mark.parametrize("damage", ["text", "half", "schema", "trial", "version"])
def test_a_damaged_database_is_named(damage: str, tmp_path: Path) -> None:
    study(tmp_path).ask()
    storage.cache_clear()
    path = tmp_path / "study.db"
    content = path.read_bytes()
    damaged = {
        "text": b"no database",
        "half": content[: len(content) // 2],
        "schema": content.replace(b"CREATE TABLE studies", b"CREATE FABLE studies"),
        "trial": content.replace(b"RUNNING", b"RUNNINQ"),
    }
    path.write_bytes(damaged.get(damage, content))
    if damage == "version":
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("UPDATE alembic_version SET version_num = 'v9'")
    with pytest.raises(UsageError, match=r"study\.db cannot be read as a tuning's studies"):
        study(tmp_path)
