"""What comes out of a tuning: trials.csv, pareto.json, the winners' architectures, the plot and result.json."""

import csv
import io
import json
import statistics
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.architecture import Architecture
from nas.reports.statistics import interval, welch
from nas.run import names
from nas.run.documents import as_json
from nas.run.folder import Run
from nas.run.results import TrainResult
from nas.tuning.front import final
from nas.tuning.objective import Job, mean
from nas.tuning.results import Final, PublishedResult, StudySummary, TrialResult, TuneResult
from nas.tuning.study import OBJECTIVES, Study

TABLE = "trials.csv"
COLUMNS = ["study", "space", "sampler", "budget", "trial", "state", "accuracy", "madds", "budget_madds", "gap"]
COLUMNS += ["params", "seconds", "latency_ms", "overhead_seconds", "values", "rejected", "failed"]


def draws(study: Study) -> Iterator[dict[str, Any]]:
    """All of a study's draws, trained or not, by the names of :class:`TrialResult`."""
    for trial in study.of_state("COMPLETE", "PRUNED", "FAIL"):
        point, outcome = (trial.user_attrs.get(name, {}) for name in ("drawn", "outcome"))
        draw = {"study": study.name, "space": study.budgets.space.name, "sampler": study.sampler, "trial": trial.number}
        draw |= {"state": trial.state.name.lower(), "rejected": trial.user_attrs.get("rejected"), **point, **outcome}
        if point:
            draw["gap"] = round(1 - point["budget_madds"] / point["budget"], 5)
        yield {**draw, "failed": trial.user_attrs.get("failed"), "accuracy": outcome.get("valid_accuracy")}


def results(study: Study) -> list[TrialResult]:
    """The trials that were trained to their end."""
    return [
        TrialResult(
            **draw,
            folder=study.folder(draw["trial"]),
            image_size=study.budgets.architecture(draw["values"]).input[1],
        )
        for draw in draws(study)
        if draw["state"] == "complete"
    ]


def summary(study: Study) -> StudySummary:
    """A study in figures."""
    outcomes = [trial.user_attrs["outcome"] for trial in study.trained if "outcome" in trial.user_attrs]
    overheads, seconds = ([one[name] for one in outcomes] for name in ("overhead_seconds", "training_seconds"))
    return StudySummary(
        study=study.name,
        space=study.budgets.space.name,
        sampler=study.sampler,
        pruner=study.pruner,
        objectives=study.objectives,
        trials=study.size,
        trained=len(study.trained),
        stopped=len(study.of_state("PRUNED")),
        rejected=study.rejections,
        failed=study.failures,
        exhausted=study.exhausted,
        importances=importances(study),
        overhead_seconds_first=overheads[0] if overheads else None,
        overhead_seconds_median_of_later=statistics.median(overheads[1:]) if len(overheads) > 1 else None,
        training_seconds_median=statistics.median(seconds) if seconds else None,
    )


def importances(study: Study) -> dict[str, float]:
    """How much of the accuracy's variance each knob explains (fANOVA, Hutter et al., 2014); {} with under 4 trials."""
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    complete = study.of_state("COMPLETE")
    if len(complete) < 4 or len(study.knobs) < 2 or len({trial.values[0] for trial in complete}) < 2:
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies' versions
        evaluator = FanovaImportanceEvaluator(seed=0)
        shares = get_param_importances(study.optuna, evaluator=evaluator, target=lambda trial: trial.values[0])
    return {name: round(share, 4) for name, share in shares.items()}


@dataclass(frozen=True)
class Baseline:
    """A published setting that is trained beside the studies.

    Args:
        space: it is of.
        budget_madds: its multiply-adds as the space's budget counts.
        job: its trainings.
    """

    space: str
    budget_madds: int
    job: Job


def published_result(baseline: Baseline) -> PublishedResult:
    """The outcome of a published setting's trainings."""
    job = baseline.job
    result, values = mean([run.result(TrainResult) for run in job.runs]), job.architecture.body["settings"]
    assert result.valid_accuracy is not None, "images are held out in every tuning"
    return PublishedResult(
        name=job.folder.name,
        values=values,
        accuracy=result.valid_accuracy,
        madds=result.madds,
        params=result.params,
        seconds=result.seconds,
        space=baseline.space,
        budget_madds=baseline.budget_madds,
    )


def compare(run: Run, winners: Iterable[TrialResult], seeds: Sequence[int]) -> list[Final]:
    """The winners' test accuracies after their last trainings, best first under each budget."""
    every = filter(None, (_final(run, winner, seeds) for winner in winners))
    finals = sorted(every, key=lambda one: (one.budget, -one.test_accuracy))
    ranking: list[Final] = []
    for one in finals:
        first = next((other for other in ranking if other.budget == one.budget), None)
        p = welch(first.test_accuracies, one.test_accuracies) if first else None
        ranking.append(replace(one, p_against_first=p))
    return ranking


def _final(run: Run, winner: TrialResult, seeds: Sequence[int]) -> Final | None:
    """Of those of its last trainings that did not fail; None: all did."""
    runs = {seed: Run(run.path / final(winner, seed)) for seed in seeds}
    results = {seed: one.result(TrainResult) for seed, one in runs.items() if one.finished}  # the others failed
    accuracies = tuple(result.test_accuracy for result in results.values() if result.test_accuracy is not None)
    if not accuracies:
        return None
    return Final(
        budget=winner.budget,
        space=winner.space,
        seeds=tuple(results),
        n=len(results),
        test_accuracies=accuracies,
        test_accuracy=statistics.fmean(accuracies),
        interval=interval(accuracies),
        p_against_first=None,
    )


def table(draws: Iterable[Mapping[str, Any]]) -> str:
    """All draws as CSV; values as JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for draw in draws:
        writer.writerow({**draw, "values": json.dumps(draw["values"]) if draw.get("values") else ""})
    return text.getvalue()


def write(run: Run, result: TuneResult, studies: Sequence[Study], winners: Mapping[str, Architecture]) -> None:
    """Writes every file of the outcome; result.json last.

    Args:
        winners: the networks by the winners' names; a single one is written beside the results too.
    """
    run.write(TABLE, table(draw for study in studies for draw in draws(study)))
    run.write("pareto.json", {"objectives": OBJECTIVES, "front": [as_json(trial) for trial in result.front]})
    for name, architecture in winners.items():
        folder = run.path / "winners" / name
        folder.mkdir(parents=True, exist_ok=True)
        Run(folder).write(names.ARCHITECTURE, architecture.document())
        if len(winners) == 1:
            run.write(names.ARCHITECTURE, architecture.document())
    run.finish(result)
