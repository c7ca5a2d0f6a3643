"""What a finished run came to, whatever command it is of: its tables, and what may be said of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nas.bilevel.sentinel import sentence
from nas.reports import comparison, studies
from nas.run.folder import Run
from nas.run.results import DeriveResult, SearchRanking, SearchResult, TrainResult
from nas.run.spec import Spec
from nas.tables import COUNT, SHARE, TEXT, Form, Table, millions
from nas.tuning import tables as tunings
from nas.tuning.results import TuneResult
from nas.tuning.spec import TuneSpec


@dataclass(frozen=True)
class Outcome:
    """Tables and the sentences under them; ``about`` stands above."""

    tables: Sequence[Table] = ()
    notes: Sequence[str] = ()
    about: str = ""


def outcome_of(run: Run) -> Outcome:
    """A run's outcome; an empty one of a run that goes on, or of a command that has none."""
    return READERS[run.command](run) if run.finished and run.command in READERS else Outcome()


def of_search(run: Run) -> Outcome:
    """One search, or the ranking of several."""
    figures = {"held-out accuracy": ("valid_accuracy", SHARE), "params": ("params", COUNT)}
    if run.spec(Spec).seeds:
        ranking = run.result(SearchRanking).ranking
        return Outcome([Table.of("Cells, ranked by a short training", {"seed": ("seed", TEXT), **figures}, ranking)])
    result = run.result(SearchResult)
    columns = {"space": ("space", TEXT), **figures, "MAdds": ("madds", millions)}
    return Outcome(
        [Table.of("The supernet, and its cell's network", columns, [result])], [*map(sentence, result.alarms)]
    )


def of_retraining(run: Run) -> Outcome:
    """One training, or several networks over their seeds."""
    if run.spec(Spec).seeds:
        several = run.result(comparison.Comparison)
        return Outcome([comparison.table(several.networks)], comparison.notes(several))
    columns = {
        "seed": ("seed", TEXT),
        "test accuracy": ("test_accuracy", SHARE),
        "held-out accuracy": ("valid_accuracy", SHARE),
        "params": ("params", COUNT),
        "MAdds": ("madds", millions),
    }
    return Outcome([Table.of("The training", columns, [run.result(TrainResult)])])


def of_derivation(run: Run) -> Outcome:
    """The selections side by side."""
    result = run.result(DeriveResult)
    columns: dict[str, tuple[str, Form]] = {
        "select": ("select", TEXT),
        "cell": ("genotype", TEXT),
        "edges changed": ("changed", TEXT),
        "MAdds": ("madds", millions),
        "params": ("params", COUNT),
        "skips": ("skips", TEXT),
        "score": ("log_strength", "{:.3f}".format),
        "accuracy": ("valid_accuracy", SHARE),
        "tuned": ("tuned_accuracy", SHARE),
    }
    unfinished = f"the search is not finished: its supernet after epoch {result.epoch} of {result.epochs}; "
    before = f"supernet {result.valid_accuracy:.1%} on {result.images} held-out images, with batch statistics"
    about = f"{unfinished * (result.epoch < result.epochs)}{before}"
    return Outcome([Table.of("Selections", columns, result.cells)], about=about)


def of_study(run: Run) -> Outcome:
    """Its searched cells among random ones."""
    summary = run.result(studies.StudySummary)
    return Outcome([studies.table(summary)], studies.notes(summary), summary.about)


def of_tuning(run: Run) -> Outcome:
    """Its best trials, and what else it has."""
    result = run.result(TuneResult)
    return Outcome(tunings.tables_of(result), tunings.notes_of(result, run.spec(TuneSpec).tune.trial_seeds))


READERS: dict[str, Callable[[Run], Outcome]] = {
    "search": of_search,
    "retrain": of_retraining,
    "rank": of_retraining,
    "trial": of_retraining,
    "derive": of_derivation,
    "study": of_study,
    "tune": of_tuning,
}
"""What reads the result of a command's run."""
