"""Results of several runs side by side, whatever command they are of."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from nas.architecture import read_architecture
from nas.errors import UsageError
from nas.reports.ledger import ledger
from nas.reports.side_by_side import Entry, SideBySide, side_by_side
from nas.reports.studies import StudyDocument, StudySummary
from nas.run import names
from nas.run.documents import read
from nas.run.fingerprint import common
from nas.run.folder import Run, find, runs_root
from nas.run.hints import unfinished
from nas.run.results import SearchRanking, SearchResult, TrainResult
from nas.run.spec import Candidate, SearchSpec, StudySpec, TrainSpec
from nas.tuning.front import final, label, winners
from nas.tuning.objective import names_of
from nas.tuning.results import TrialResult, TuneResult
from nas.tuning.spec import TuneSpec

TEST, HELD_OUT = "test", "held-out"


def compare(targets: Sequence[str], *, unlike: bool = False, runs: Path | None = None) -> SideBySide:
    """The results of runs, ranked where they were had on equal terms.

    Args:
        targets: searches, retrainings, studies and tunings: paths, names or ``last``.
        unlike: rank unlike ones too.
        runs: folder of run folders.

    Raises:
        UsageError: no such run, one that is not finished or has nothing to compare, one named twice.
    """
    every = [find(target, runs_root(runs)) for target in targets]
    paths = [run.path.resolve() for run in every]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    entries = [entry for run in every for entry in entries_of(run)]
    return side_by_side(entries, ledger(paths), unlike=unlike)


def entries_of(run: Run) -> list[Entry]:
    """A run's results.

    Raises:
        UsageError: it is not finished, or has none.
    """
    if run.command not in READERS:
        raise UsageError(f"run {run.path}: a {run.command} has no trained network to compare: retrain its cells")
    if not run.finished:
        raise UsageError(unfinished(run))
    return READERS[run.command](run)


def of_search(run: Run) -> list[Entry]:
    """A search by its supernet's accuracy; of several seeds by the short trainings that ranked the cells."""
    spec = run.spec(SearchSpec)
    if spec.seeds:
        trainings = [Run(run.path / f"rank-s{rank.seed}") for rank in run.result(SearchRanking).ranking]
        return [of_trainings(name_of(run), trainings, over="searches", score="held-out, short training")]
    result = run.result(SearchResult)
    entry = Entry(
        name=name_of(run),
        score="held-out, supernet",
        over="searches",
        accuracies=(result.valid_accuracy,),
        network=network_of(run),
        params=result.params,
        madds=result.madds,
        seconds=result.seconds,
        settings=spec.settings,
        fingerprint=result.fingerprint,
    )
    return [entry]


def of_retraining(run: Run) -> list[Entry]:
    """A retraining, or each of its networks over the seeds."""
    spec = run.spec(TrainSpec)
    if not spec.seeds:
        return [of_trainings(name_of(run), [run])]
    networks = spec.networks or (Candidate("", ""),)
    prefixes = [f"{network.name}-" if len(networks) > 1 else "" for network in networks]
    return [
        of_trainings(
            f"{name_of(run)}{f'/{network.name}' if network.name else ''}",
            [Run(run.path / f"{prefix}s{seed}") for seed in spec.seeds],
        )
        for network, prefix in zip(networks, prefixes, strict=True)
    ]


def of_study(run: Run) -> list[Entry]:
    """Each arm's found cells and its random ones: an accuracy a cell, the mean of its trainings."""
    spec, rows = run.spec(StudySpec), read(run.path / names.STUDY, StudyDocument).rows
    entries = []
    for group in run.result(StudySummary).groups:
        place = (group.role, group.space, group.method)
        own = [row for row in rows if (row.role, row.space, row.method) == place and row.accuracy is not None]
        trainings = of_trainings(f"{name_of(run)}/{group.name}", [Run(run.path / row.run) for row in own])
        over = "random cells" if group.role == "control" else "searches"
        entries.append(replace(trainings, over=over, accuracies=group.accuracies, settings=spec.settings))
    return entries


def of_tuning(run: Run) -> list[Entry]:
    """Each winner of a tuning: by its last trainings, or, where there are none, by its trial's."""
    spec, result = run.spec(TuneSpec), run.result(TuneResult)
    entries = []
    for winner in winners(result.best):
        name = f"{name_of(run)}/{label(winner)}"
        last = [final(winner, seed) for seed in spec.seeds or ()] if result.finals else []
        trial = names_of(winner.folder, spec.settings.seed, spec.tune.trial_seeds)
        trained = finished(run, last) or finished(run, trial)
        entries.append(of_trainings(name, trained) if trained else of_trial(name, winner, spec))
    return entries


def finished(run: Run, folders: Sequence[str]) -> list[Run]:
    """Those of the runs inside of a run that have not failed, and are seen from here."""
    return [one for folder in folders if (one := Run(run.path / folder)).finished]


def of_trial(name: str, trial: TrialResult, spec: TuneSpec) -> Entry:
    """A trial that was trained where its folder is not seen from here."""
    return Entry(
        name=name,
        score=HELD_OUT,
        over="trainings",
        accuracies=(trial.accuracy,),
        network=trial.space,
        params=trial.params,
        madds=trial.madds,
        seconds=trial.seconds,
        settings=spec.settings,
        fingerprint=None,
    )


def of_trainings(name: str, runs: Sequence[Run], *, over: str = "trainings", score: str = "") -> Entry:
    """Several trainings as one result: by the test set, or where that stayed closed by held-out images.

    Args:
        score: what is judged by, if it is to be called something else.
    """
    results = [run.result(TrainResult) for run in runs]
    tested = all(result.test_accuracy is not None for result in results)
    accuracies = [result.test_accuracy if tested else result.valid_accuracy for result in results]
    return Entry(
        name=name,
        score=score or (TEST if tested else HELD_OUT),
        over=over,
        accuracies=tuple(accuracy for accuracy in accuracies if accuracy is not None),
        network=network_of(runs[0]),
        params=alike([result.params for result in results]),
        madds=alike([result.madds for result in results]),
        seconds=sum(result.seconds for result in results),
        settings=runs[0].spec(TrainSpec).settings,
        fingerprint=common([result.fingerprint for result in results]),
    )


def name_of(run: Run) -> str:
    """Of its folder, after that of the run which it lies in."""
    path = run.path.resolve()
    return f"{path.parent.name}/{path.name}" if (path.parent / names.SETTINGS).is_file() else path.name


def alike(values: Sequence[int]) -> int | None:
    """What all of them are; None: they differ."""
    return values[0] if len(set(values)) == 1 else None


def network_of(run: Run) -> str:
    """The size of a run's cell network, or a macro network's family."""
    architecture = read_architecture(run.path / names.ARCHITECTURE, known=False)
    body = architecture.body
    return f"{body['channels']} × {body['cells']}" if architecture.kind == "cell" else str(body["network"])


READERS: dict[str, Callable[[Run], list[Entry]]] = {
    "search": of_search,
    "retrain": of_retraining,
    "rank": of_retraining,
    "trial": of_retraining,
    "study": of_study,
    "tune": of_tuning,
}
"""What reads the results of a command's run."""
