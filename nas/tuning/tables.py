"""A tuning's outcome as tables: the best trials under each budget, the winners' last trainings, what knobs explain."""

from collections.abc import Sequence

from nas.amounts import short
from nas.knobs import Values
from nas.reports.statistics import FEWEST, LEVEL, holm
from nas.tables import COUNT, RANGE, SHARE, TEXT, Table
from nas.tuning.results import PublishedResult, StudySummary, TrialResult, TuneResult


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
            if nearest(one.budget_madds or one.madds, result.budgets) == budget:
                rows.append(_row(budget, one.space or one.name.partition("-")[0], "published", one))
    return Table("Best trials", columns, rows, lead=3)


def nearest(madds: int, budgets: Sequence[int]) -> int:
    """The budget that comes nearest."""
    return min(budgets, key=lambda budget: abs(budget - madds))


def exact_millions(amount: float) -> str:
    """Of multiply-adds, beside a budget."""
    return f"{amount / 1e6:.2f}M"


def _row(budget: int, space: str, by: str, training: TrialResult | PublishedResult) -> tuple[object, ...]:
    """A training's cells; multiply-adds as counted for the budget where that is elsewhere."""
    trial = training if isinstance(training, TrialResult) else None
    counted = training.budget_madds if training.budget_madds != training.madds else None
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
    columns = {"budget": short, "space": TEXT, "test accuracy": SHARE, "95 % interval": RANGE, "n": TEXT}
    seeds = {one.budget: one.n for one in reversed(result.finals)}  # of the first
    tests = {(one.budget, one.space): one.p_against_first for one in result.finals if one.p_against_first is not None}
    corrected = dict(zip(tests, holm(list(tests.values())), strict=True))
    rows = []
    for one in result.finals:
        p = corrected.get((one.budget, one.space))
        said = None if p is None else against(p, min(one.n, seeds[one.budget]))
        rows.append((one.budget, one.space, one.test_accuracy, one.interval, one.n, said))
    return Table("Winners, trained anew on all training images", {**columns, "against the first": TEXT}, rows, lead=2)


def against(p: float, seeds: int) -> str:
    """What may be said of a winner and the first, by a p that is corrected for their number (Holm, 1979)."""
    if seeds < FEWEST:
        return f"p = {p:.3f}, {seeds} seeds are too few to say more"
    return f"p = {p:.3f}{', differs' if p < LEVEL else ', no difference shown'}"


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
