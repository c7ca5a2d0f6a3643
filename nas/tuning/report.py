"""What came out of a tuning run: tables, trials.csv, pareto.json, the plot, the winners' architecture files."""

import csv
import io
import json
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from nas.files import read_json
from nas.run.folder import Run
from nas.tuning.budget import short
from nas.tuning.compare import compare
from nas.tuning.objective import Job
from nas.tuning.plot import plot
from nas.tuning.study import OBJECTIVES, Contest, import_optuna

Entry = dict[str, Any]
"""A trained trial: space, sampler, trial, folder, values, budget, accuracy, madds, params, seconds, …"""

COLUMNS = ["study", "space", "sampler", "budget", "trial", "state", "accuracy", "madds", "budget_madds", "gap"]
COLUMNS += ["params", "seconds", "latency_ms", "overhead_seconds", "values", "rejected"]


def gather(run: Run, contests: Sequence[Contest], extras: Sequence[Job]) -> dict[str, Any]:
    """The run's outcome as JSON data, from the studies and the published settings' results."""
    trials = [entry for contest in contests for entry in entries(contest)]
    found = {
        "studies": [summary(contest) for contest in contests],
        "budgets": run.told["budgets"],
        "image": run.told["image"],
        "best": best(trials),
        "published": [beside(job) for job in extras],
        "front": front([trial for trial in trials if trial["sampler"] == run.told["tune"]["sampler"]]),
        "trials": trials,
    }
    return found


def entries(contest: Contest) -> list[Entry]:
    """All of a study's draws, trained or not."""
    made = []
    for trial in contest.of_state("COMPLETE", "PRUNED", "FAIL"):
        told = {**trial.user_attrs.get("drawn", {}), **trial.user_attrs.get("outcome", {})}
        entry: Entry = {"study": contest.name, "space": contest.budgets.subject.name, "sampler": contest.sampler}
        entry |= {"trial": trial.number, "state": trial.state.name.lower(), "accuracy": told.get("valid_accuracy")}
        names = ("madds", "params", "seconds", "latency_ms", "overhead_seconds", "training_seconds", "values")
        entry |= {name: told.get(name) for name in (*names, "budget", "budget_madds")}
        entry["rejected"] = trial.user_attrs.get("rejected")
        if entry["budget"]:
            entry["gap"] = round(1 - entry["budget_madds"] / entry["budget"], 5)
            entry["folder"] = f"trials/{contest.name}/{trial.number:04d}"
        made.append(entry)
    return made


def summary(contest: Contest) -> Entry:
    """A study in figures."""
    trained = contest.trained
    outcomes = [trial.user_attrs["outcome"] for trial in trained if "outcome" in trial.user_attrs]
    overheads, seconds = ([one[name] for one in outcomes] for name in ("overhead_seconds", "training_seconds"))
    return {
        "study": contest.name,
        "space": contest.budgets.subject.name,
        "sampler": contest.sampler,
        "pruner": contest.pruner,
        "objectives": list(contest.objectives),
        "trials": contest.trials,
        "trained": len(trained),
        "stopped": len(contest.of_state("PRUNED")),
        "rejected": contest.rejected,
        "exhausted": contest.exhausted,
        "importances": importances(contest),
        "overhead_seconds_first": overheads[0] if overheads else None,
        "overhead_seconds_median_of_later": median(overheads[1:]) if len(overheads) > 1 else None,
        "training_seconds_median": median(seconds) if seconds else None,
    }


def importances(contest: Contest) -> dict[str, float]:
    """How much of the accuracy's variance each knob explains (fANOVA, Hutter et al., 2014); {} with under 4 trials."""
    complete = contest.of_state("COMPLETE")
    if len(complete) < 4 or len(contest.knobs) < 2 or len({trial.values[0] for trial in complete}) < 2:
        return {}
    importance = import_optuna().importance
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies' versions
        evaluator = importance.FanovaImportanceEvaluator(seed=0)
        shares = importance.get_param_importances(
            contest.study, evaluator=evaluator, target=lambda trial: trial.values[0]
        )
    return {name: round(share, 4) for name, share in shares.items()}


def best(trials: Iterable[Entry]) -> list[Entry]:
    """The most accurate trial of each space, budget and sampler; the cheaper one of two as good."""
    found: dict[tuple[Any, ...], Entry] = {}
    for trial in sorted(trials, key=lambda one: (-(one["accuracy"] or 0), one["madds"] or 0, one["trial"])):
        if trial["state"] == "complete":
            found.setdefault((trial["budget"], trial["space"], trial["sampler"]), trial)
    return sorted(found.values(), key=lambda one: (one["budget"], -one["accuracy"]))


def winners(found: Mapping[str, Any]) -> list[Entry]:
    """The best of each space and budget, random's draws included: they cost as much."""
    chosen: dict[tuple[Any, ...], Entry] = {}
    for entry in found["best"]:
        chosen.setdefault((entry["budget"], entry["space"]), entry)
    return list(chosen.values())


def label(entry: Mapping[str, Any]) -> str:
    """A winner's name: mobilenext-20M."""
    return f"{entry['space']}-{short(entry['budget'])}"


def beside(job: Job) -> Entry:
    """A published setting's outcome under the same recipe."""
    result, name = Run(Path(job.folder)).result, Path(job.folder).name
    figures = {key: result[key] for key in ("madds", "params", "seconds")}
    return {
        "name": name,
        "values": job.architecture.get("settings", {}),
        "accuracy": result["valid_accuracy"],
        **figures,
    }


def front(trials: Iterable[Entry]) -> list[Entry]:
    """The trials that none beats in accuracy and multiply-adds at once, cheapest first."""
    kept: list[Entry] = []
    complete = [trial for trial in trials if trial["state"] == "complete"]
    for trial in sorted(complete, key=lambda one: (one["madds"], -one["accuracy"])):
        if not kept or trial["accuracy"] > kept[-1]["accuracy"]:
            kept.append(trial)
    return kept


def write(run: Run, found: dict[str, Any], seeds: Sequence[int]) -> None:
    """Writes every file of the outcome; result.json last."""
    trials = found.pop("trials")
    run.write("trials.csv", table(trials))
    run.write("pareto.json", {"objectives": OBJECTIVES, "front": found["front"]})
    chosen = winners(found)
    for winner in chosen:
        folder = run.path / "winners" / label(winner)
        folder.mkdir(parents=True, exist_ok=True)
        document = read_json(run.path / winner["folder"] / "architecture.json")
        winner["image_size"] = document["input"][1]
        Run(folder).write("architecture.json", document)
        if len(chosen) == 1:
            run.write("architecture.json", document)
    labels = [(winner["budget"], winner["space"], label(winner)) for winner in chosen]
    found["finals"] = compare(run.path / "finals", labels, seeds)
    settings = run.told["settings"]
    recipe = {"seed": settings["seed"], "validation": settings["validation"], "recipe": settings}
    plot(trials, found, run.path / "front.png")
    run.write("result.json", {**found, **recipe, "hardware": read_json(run.path / "environment.json")["hardware"]})


def table(trials: Sequence[Entry]) -> str:
    """All draws as CSV; values as JSON."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for trial in trials:
        writer.writerow({**trial, "values": json.dumps(trial["values"]) if trial["values"] else ""})
    return text.getvalue()
