"""A tuning's outcome as tables: the best trials under each budget, the winners' last trainings, what knobs explain."""

from nas.amounts import short
from nas.knobs import Values
from nas.tables import COUNT, RANGE, SHARE, TEXT, Form, Table
from nas.tuning.results import PublishedResult, StudySummary, TrialResult, TuneResult

LARGE = 0.05
"""A p below which winners are said to differ."""


def tables_of(result: TuneResult) -> list[Table]:
    """All of them; what a tuning does not have is left out."""
    return [table for table in (best_trials(result), finals(result), importances(result)) if table.values]


def best_trials(result: TuneResult) -> Table:
    """The best of each study under each budget, and the published settings next to it."""
    columns = {
        "budget": short,
        "space": TEXT,
        "by": TEXT,
        "accuracy": SHARE,
        "MAdds": exact_millions,
        "counted": exact_millions,
        "gap": SHARE,
        "params": COUNT,
        "seconds": "{:.0f}".format,
        "ms": "{:.2f}".format,
        "settings": TEXT,
    }
    rows = []
    for budget in result.budgets:
        rows += [_row(budget, one.space, one.sampler, one) for one in result.best if one.budget == budget]
        for one in result.published:
            if min(result.budgets, key=lambda other: abs(other - one.madds)) == budget:
                rows.append(_row(budget, one.name.partition("-")[0], "published", one))
    return Table("Best trials", columns, rows, lead=3)


def exact_millions(amount: float) -> str:
    """Of multiply-adds, beside a budget."""
    return f"{amount / 1e6:.2f}M"


def _row(budget: int, space: str, by: str, training: TrialResult | PublishedResult) -> tuple[object, ...]:
    """A training's cells; multiply-adds as counted for the budget where that is elsewhere."""
    trial = training if isinstance(training, TrialResult) else None
    counted = trial.budget_madds if trial and trial.budget_madds != trial.madds else None
    figures = (training.accuracy, training.madds, counted, trial and trial.gap, training.params, training.seconds)
    return (budget, space, by, *figures, trial and trial.latency_ms, describe(training.values))


def describe(values: Values) -> str:
    """Values in a few words; the steps of single stages as +1 at 3."""
    words = [f"{name} {value}" for name, value in values.items() if name != "steps"]
    steps = values.get("steps")
    wider = [f"+{step} at {stage}" for stage, step in enumerate(steps) if step] if isinstance(steps, list) else []
    return ", ".join([*words, *([f"stages {', '.join(wider)}"] if wider else [])])


def finals(result: TuneResult) -> Table:
    """Which space wins where."""
    columns: dict[str, tuple[str, Form]] = {
        "budget": ("budget", short),
        "space": ("space", TEXT),
        "test accuracy": ("test_accuracy", SHARE),
        "95 % interval": ("interval", RANGE),
        "n": ("n", TEXT),
        "against the first": ("p_against_first", against),
    }
    return Table.of("Winners, trained anew on all training images", columns, result.finals, lead=2)


def against(p: float) -> str:
    """What may be said of a winner and the first."""
    return f"p = {p:.3f}{', differs' if p < LARGE else ', no difference shown'}"


def importances(result: TuneResult) -> Table:
    """How much of the accuracy's variance each knob explains, as far as the studies tell."""
    rows = [(study.study, knob, share) for study in result.studies for knob, share in study.importances.items()]
    columns = {"study": TEXT, "knob": TEXT, "share": "{:.0%}".format}
    return Table("Share of the accuracy's variance that a knob explains", columns, rows, lead=2)


def study_line(study: StudySummary) -> str:
    """What a study did."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in study.rejected.items())
    parts = [
        f"{study.study}: {study.trained} of {study.trials} trained, {study.stopped} stopped early ({study.pruner})",
        f"{sum(study.rejected.values())} draws rejected{f' ({reasons})' if reasons else ''}",
    ]
    if study.failed:
        why = ", ".join(f"{count}: {reason}" for reason, count in study.failed.items())
        parts.append(f"{sum(study.failed.values())} failed ({why})")
    if study.exhausted:
        parts.append("every point was drawn")
    first, later = study.overhead_seconds_first, study.overhead_seconds_median_of_later
    if later is not None and study.training_seconds_median:
        share = later / study.training_seconds_median
        parts.append(f"tuner {later:.3f} s a trial ({share:.1%} of training), first {first:.3f} s")
    return "; ".join(parts)


def notes_of(result: TuneResult, seeds: int) -> list[str]:
    """What belongs under the tables; so many seeds judged each trial."""
    first = result.seed
    span = f"seed {first}" if seeds == 1 else f"seeds {first} to {first + seeds - 1}"
    terms = f"{result.validation} held-out training images, {span}, n = {seeds} each; {result.hardware}"
    return [*map(study_line, result.studies), f"accuracies of trials: {terms}"]
