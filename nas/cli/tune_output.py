"""How ``nas tune`` and ``nas show`` print a tuning run."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from nas.amounts import short
from nas.run.names import ARCHITECTURE, FRONT
from nas.tuning.front import label, winners
from nas.tuning.results import Final, PublishedResult, StudySummary, TrialResult, TuneResult
from nas.tuning.spec import TuneSpec

if TYPE_CHECKING:
    from nas.knobs import Values
    from nas.run.folder import Run


def print_run(run: "Run") -> None:
    """Prints the outcome of a finished tuning, for people."""
    result = run.result(TuneResult)
    console = Console(width=None if Console().is_terminal else 160, highlight=False)
    for budget in result.budgets:
        console.print(budget_table(budget, result.best, result.published, result.budgets))
    for study in result.studies:
        console.print(study_line(study), soft_wrap=not console.is_terminal)
    if result.finals:
        console.print(finals_table(result.finals))
    images = f"{result.validation} held-out training images"
    n = run.spec(TuneSpec).tune.trial_seeds
    seeds = f"seed {result.seed}" if n == 1 else f"seeds {result.seed} to {result.seed + n - 1}"
    console.print(f"accuracies of trials: {images}, {seeds}, n = {n} each; {result.hardware}")
    console.print(f"run      {run.path}\npicture  {run.path / FRONT}", soft_wrap=True)
    for winner in winners(result.best):
        smaller = f" --image-size {winner.image_size}" if winner.image_size != result.image[1] else ""
        file = run.path / "winners" / label(winner) / ARCHITECTURE
        console.print(f"retrain  nas retrain {file}{smaller}", soft_wrap=True)


def budget_table(
    budget: int, best: Iterable[TrialResult], published: Iterable[PublishedResult], budgets: Sequence[int]
) -> Table:
    """The best of each study under one budget, and the published settings next to it; no column that says nothing."""
    rows = [_row(trial.space, trial.sampler, trial) for trial in best if trial.budget == budget]
    for one in published:
        if min(budgets, key=lambda other: abs(other - one.madds)) == budget:
            rows.append(_row(one.name.partition("-")[0], "published", one))
    table = Table(title=f"budget {short(budget)} MAdds", box=None, title_justify="left")
    columns = [name for name in rows[0] if any(row[name] for row in rows)] if rows else []
    for name in columns:
        words = name in ("space", "by", "settings")
        table.add_column(name, justify="left" if words else "right", no_wrap=not words)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _row(space: str, by: str, training: TrialResult | PublishedResult) -> dict[str, str]:
    """A training's cells by their columns; multiply-adds as counted for the budget where that is elsewhere."""
    trial = training if isinstance(training, TrialResult) else None
    return {
        "space": space,
        "by": by,
        "settings": describe(training.values),
        "accuracy": f"{training.accuracy:.2%}",
        "MAdds": f"{training.madds / 1e6:.2f}M",
        "counted": f"{trial.budget_madds / 1e6:.2f}M" if trial and trial.budget_madds != trial.madds else "",
        "gap": f"{trial.gap:.2%}" if trial else "",
        "params": f"{training.params:,}",
        "seconds": f"{training.seconds:.0f}",
        "ms": f"{trial.latency_ms:.2f}" if trial and trial.latency_ms else "",
    }


def describe(values: "Values") -> str:
    """Values in a few words; the steps of single stages as +1 at 3."""
    words = [f"{name} {value}" for name, value in values.items() if name != "steps"]
    steps = values.get("steps")
    wider = [f"+{step} at {stage}" for stage, step in enumerate(steps) if step] if isinstance(steps, list) else []
    return ", ".join([*words, *([f"stages {', '.join(wider)}"] if wider else [])])


def study_line(study: StudySummary) -> str:
    """What a study did."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in study.rejected.items())
    parts = [
        f"{study.study}: {study.trained} of {study.trials} trained, {study.stopped} stopped early ({study.pruner})",
        f"{sum(study.rejected.values())} draws rejected{f' ({reasons})' if reasons else ''}",
    ]
    if study.exhausted:
        parts.append("every point was drawn")
    if study.importances:
        shares = ", ".join(f"{name} {share:.2f}" for name, share in study.importances.items())
        parts.append(f"importances: {shares}")
    first, later = study.overhead_seconds_first, study.overhead_seconds_median_of_later
    if later is not None and study.training_seconds_median:
        share = later / study.training_seconds_median
        parts.append(f"tuner {later:.3f} s a trial ({share:.1%} of training), first {first:.3f} s")
    return "; ".join(parts)


def finals_table(finals: tuple[Final, ...]) -> Table:
    """Which space wins where."""
    table = Table(title="winners, trained anew on all training images", box=None, title_justify="left")
    for name in ("budget", "space", "test accuracy", "95 % interval", "n", "against the first"):
        table.add_column(name)
    for one in finals:
        p, accuracy = one.p_against_first, f"{one.test_accuracy:.2%}"
        interval = f"{one.interval[0]:.2%} to {one.interval[1]:.2%}" if one.interval else ""
        difference = "" if p is None else f"p = {p:.3f}{', differs' if p < 0.05 else ', no difference shown'}"
        table.add_row(short(one.budget), one.space, accuracy, interval, str(one.n), difference)
    return table
