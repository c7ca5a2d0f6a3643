"""The NAS best-practice checklist (Lindauer and Hutter, JMLR 21(243), 2020), filled in from runs' own records.

Nothing is ticked that the records do not show: what they are silent about is "not done".
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from nas.pages.records import Record
from nas.pages.stages import FINALS, duration, stages
from nas.pages.trainings import rows_of
from nas.run.results import Terms, TrainResult
from nas.run.spec import SearchSpec, TrainSpec
from nas.settings import recipe_hash
from nas.tuning.front import CONTROL
from nas.tuning.results import TuneResult
from nas.tuning.spec import TuneSpec

DONE, PART, OPEN = "done", "in part", "not done"


@dataclass(frozen=True)
class Item:
    """A practice, its state, and what the records show of it."""

    practice: str
    state: str
    evidence: str


Judge = Callable[[Sequence[Record]], tuple[str, str]]
"""Records → (state, evidence)."""


def checklist(records: Sequence[Record]) -> list[Item]:
    """All items, in the checklist's order."""
    return [Item(practice, *judge(records)) for practice, judge in PRACTICES.items()]


def leaves(records: Sequence[Record], *commands: str) -> list[Record]:
    """The searches, trainings or trials among all runs."""
    return [leaf for record in records for leaf in record.leaves if leaf.spec.command in commands]


def code(records: Sequence[Record]) -> tuple[str, str]:
    """Whether the commit is known, and all of the code in it."""
    commits = {record.environment.git for record in records}
    if None in commits:
        version = (records[0].environment.versions or {}).get("nas", "unknown")
        return PART, f"nas {version}; no commit was recorded"
    names = ", ".join(sorted({git.commit[:10] for git in commits if git}))
    if any(git.changed for git in commits if git):
        return PART, f"commit {names}, with changes that are not recorded"
    return DONE, f"commit {names}; making it public is yours to do"


def settings(records: Sequence[Record]) -> tuple[str, str]:
    """Every setting is in settings.json."""
    seeds = sorted({seed for leaf in leaves(records, *RECIPES) for seed in [seed_of(leaf)] if seed is not None})
    return DONE, f"every setting is recorded and listed below; seeds {', '.join(map(str, seeds)) or 'none'}"


RECIPES = ("search", "retrain", "rank", "trial")


def seed_of(leaf: Record) -> int | None:
    """The seed of a run that has one."""
    return leaf.spec.settings.seed


def tunings_of(records: Sequence[Record]) -> list[TuneSpec]:
    """What the tunings among the runs were to do."""
    return [record.run.spec(TuneSpec) for record in records if record.spec.command == "tune"]


def trials(records: Sequence[Record]) -> list[Record]:
    """Trainings of tunings that are judged on held-out images; the winners' last ones are not."""
    return [leaf for leaf in leaves(records, "trial") if leaf.run.path.parent.name != FINALS]


def recipes(trainings: Sequence[Record]) -> set[str]:
    """The hashes of the trainings' settings, seed and resolution (which may be a knob) left out."""
    every = [training.run.spec(TrainSpec).settings for training in trainings]
    return {recipe_hash(replace(settings, image_size=None)) for settings in every}


def same_protocol(records: Sequence[Record]) -> tuple[str, str]:
    """Whether all trainings have one recipe, and what else must be equal of it."""
    trainings = leaves(records, "retrain")
    hashes = recipes(trainings or trials(records))
    if not hashes:
        return OPEN, "there is no retraining here"
    named = ", ".join(sorted(hashes))
    if len(hashes) > 1:
        return OPEN, f"{len(hashes)} recipes: {named}"
    if unlike := unequal(trainings, "resolution", "precision", "init"):
        return OPEN, f"one recipe, {named}, but different {unlike}"
    return DONE, f"one recipe, {named}"


def unequal(trainings: Sequence[Record], *terms: str) -> str:
    """Those of the terms of finished trainings that are not the same in all; empty: all are."""
    every = [one.run.result(Terms).fingerprint for one in trainings if one.run.finished]
    return " and ".join(term for term in terms if len({getattr(one, term) for one in every if one}) > 1)


def same_data(records: Sequence[Record]) -> tuple[str, str]:
    """Whether all runs are on one data set and part of it."""
    compared = leaves(records, "retrain") or leaves(records, *RECIPES)
    data = sorted({leaf.spec.settings.data for leaf in compared})
    if len(data) > 1:
        return OPEN, f"different data: {', '.join(data)}"
    if not compared:
        return OPEN, "there is no training here"
    limits = sorted({leaf.spec.settings.limit or 0 for leaf in compared})
    images = "" if limits == [0] else f", with --limit {', '.join(map(str, limits))}"
    if len(compared) < 2:
        return PART, f"{', '.join(data)}{images}; nothing is compared here"
    if unlike := unequal(compared, "data", "classes", "split"):
        return OPEN, f"{', '.join(data)}{images}, but different {unlike}"
    tested = all(leaf.spec.command == "retrain" for leaf in compared)
    judges = "the data's own test images" if tested else "held-out training images"
    return (DONE if len(limits) == 1 else OPEN), f"{', '.join(data)}{images}; {judges}"


def confounders(records: Sequence[Record]) -> tuple[str, str]:
    """Whether hardware, versions and threads are the same everywhere."""
    every = [leaf.environment for record in records for leaf in [record, *record.leaves]]
    confounding = {
        "hardware": {one.hardware for one in every},
        "torch": {(one.versions or {}).get("torch", "") for one in every},
        "threads": {str(one.threads) for one in every},
        "commit": {one.git.commit[:10] if one.git else "" for one in every},
    }
    different = [f"{name}: {', '.join(sorted(values))}" for name, values in confounding.items() if len(values) > 1]
    if different:
        return OPEN, f"different {'; '.join(different)}"
    return DONE, "one hardware, torch, number of threads and commit throughout"


def anytime(records: Sequence[Record]) -> tuple[str, str]:
    """Whether there is performance over time."""
    return (
        (PART, "held-out accuracy by epoch is drawn above; no retrained accuracy over time")
        if any(record.log or record.children for record in records)
        else (OPEN, "nothing is logged")
    )


def random_control(records: Sequence[Record]) -> tuple[str, str]:
    """Whether random points were trained beside those found."""
    rows = [row for record in records for row in rows_of(record)]
    if any(row.role == "control" and row.accuracy is not None for row in rows):
        return DONE, "random cells of the same space at matched multiply-adds, see the study's table"
    tunings = [record.run for record in records if record.spec.command == "tune" and record.run.finished]
    studies = [study for run in tunings for study in run.result(TuneResult).studies]
    drawn = sum(study.trained for study in studies if study.sampler == CONTROL)
    tuned = sum(study.trained for study in studies) - drawn
    if drawn and tuned:
        return (DONE if drawn >= tuned else PART), f"{drawn} random trials beside {tuned} tuned ones"
    return OPEN, "no random cells were trained: nas study does"


def repetitions(records: Sequence[Record]) -> tuple[str, str]:
    """How many seeds there are of searches and of trainings, of a tuning's trials and of its winners."""
    counts = {f"{each} seeds": len({seed_of(leaf) for leaf in leaves(records, each)}) for each in ("search", "retrain")}
    if tunings := tunings_of(records):
        counts = {name: count for name, count in counts.items() if count}
        counts |= {"seeds of a trial": min(spec.tune.trial_seeds for spec in tunings)}
        counts |= {"seeds of a winner": min(len(spec.seeds or ()) for spec in tunings)}
    said = ", ".join(f"{name}: {count}" for name, count in counts.items() if count) or "no search or training"
    if all(count > 1 for count in counts.values()):
        return DONE, said
    return (PART if max(counts.values()) > 1 else OPEN), said


def tabular(records: Sequence[Record]) -> tuple[str, str]:
    """Whether the space is a tabulated one."""
    spaces = {leaf.run.spec(SearchSpec).settings.space for leaf in leaves(records, "search")}
    if "nasbench201" in spaces:
        return PART, "NAS-Bench-201's space: nas lookup gives the cell's rank"
    return OPEN, "no tabulated space"


def tuned_settings(records: Sequence[Record]) -> tuple[str, str]:
    """Whether the tuning of the method's own settings is recorded."""
    return OPEN, "the records do not say how the settings were chosen, nor at what cost"


def whole_time(records: Sequence[Record]) -> tuple[str, str]:
    """Whether the time of all stages is here."""
    parts = [stage for record in records for stage in stages(record)]
    spent = ", ".join(f"{stage.title} {duration(stage.seconds)}" for stage in parts)
    commands = {leaf.spec.command for record in records for leaf in record.leaves}
    whole = {"search", "retrain"} <= commands or "trial" in commands
    return (DONE if whole else PART), spent or "no epoch is logged"


def test_set(records: Sequence[Record]) -> tuple[str, str]:
    """Whether the test set was read once a training."""
    tested = [leaf for leaf in leaves(records, "retrain", "trial") if leaf.run.finished]
    counts = [leaf.run.result(TrainResult).test_openings for leaf in tested]
    if not counts:
        return DONE, "it was not read"
    read = sum(count > 0 for count in counts)
    return (DONE if max(counts) <= 1 else PART), f"read {sum(counts)} times, for {read} of {len(counts)} trainings"


def details(records: Sequence[Record]) -> tuple[str, str]:
    """Settings and environment are on the page."""
    unknown = [record.name for record in records if not record.environment.hardware]
    if unknown:
        return PART, f"settings below; no environment was recorded of {', '.join(unknown)}"
    return DONE, "settings, versions, hardware and commands below"


def ablation(records: Sequence[Record]) -> tuple[str, str]:
    """Whether runs that differ in one setting stand side by side."""
    searches = {recipe_hash(leaf.run.spec(SearchSpec).settings) for leaf in leaves(records, "search")}
    if len(searches) > 1 or len(recipes(leaves(records, "retrain"))) > 1:
        return PART, "runs with different settings stand side by side"
    return OPEN, "no two runs here differ in their settings"


PRACTICES: dict[str, Judge] = {
    "Code of the training pipeline, the space and the method is known": code,
    "Hyperparameters and seeds of search and final training are given": settings,
    "All that is compared has the same data and splits": same_data,
    "All that is compared has the same evaluation protocol": same_protocol,
    "Hardware, library versions and run times are controlled for": confounders,
    "Ablations were run": ablation,
    "Performance over time is compared": anytime,
    "Compared with random sampling or random search": random_control,
    "Several runs with different seeds": repetitions,
    "Tabular or surrogate benchmarks used for deeper evaluation": tabular,
    "How hyperparameters were tuned, and what that cost, is said": tuned_settings,
    "Time of the whole method is reported, not of the search alone": whole_time,
    "All details of the setup are reported": details,
    "Test set read once a training (not in the original list)": test_set,
}
