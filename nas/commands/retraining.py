"""Trainings of networks from scratch or from trained weights: many cells, many seeds."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from nas.architecture import Architecture, read_architecture
from nas.commands.carry import child_of, finish_all, proceed
from nas.commands.targets import architecture_of
from nas.commands.told import check_data, label, tell
from nas.errors import UsageError
from nas.execution import Execution
from nas.reports import tensorboard as board
from nas.reports.comparison import combine, summarise
from nas.run import live
from nas.run.folder import Run, create, find, runs_root
from nas.settings import (
    TrainSettings,
    make,
)
from nas.train.loop import train
from nas.train.schedule import learning_rate
from nas.train.start import WEIGHTS, fitting, freeze, read_weights


@dataclass(frozen=True)
class Candidate:
    """A network to train, and where it came from, for the record."""

    architecture: Architecture
    source: str = ""


def retrain(
    architecture: Architecture | Sequence[Candidate],
    settings: TrainSettings,
    *,
    source: str = "",
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    init: Run | None = None,
    ops: Path | None = None,
    tensorboard: bool = False,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Trains a network; several networks or seeds one by one, with means, intervals and differences.

    Args:
        architecture: one network, or several with their sources; they are fitted to the data's image size and classes.
        settings: the recipe.
        source: where the one network came from, for the record.
        init: a finished training whose weights to start from; on other data with a new classifier.

    Returns:
        the run, with architecture.json, weights.safetensors and result.json; with several seeds or networks a parent
        run with a child for each training.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    if tensorboard:
        board.check()
    several = [Candidate(architecture, source)] if isinstance(architecture, Architecture) else list(architecture)
    if not several:
        raise UsageError("there is no network to train")
    told = {**tell("retrain", settings, preset, seeds, ops, execution), "tensorboard": tensorboard}
    shape, classes = check_data(settings, execution)
    networks = [fitted(candidate.architecture, shape, classes, settings) for candidate in several]
    weights = initial(init, networks, settings)
    if len(several) == 1:
        told |= {"source": several[0].source}
    else:
        named = [{"name": f"c{number}", "source": each.source} for number, each in enumerate(several, start=1)]
        told |= {"networks": named, "seeds": told.get("seeds") or [settings.seed]}
    if weights is not None and init is not None:
        told |= {"init": {"run": str(init.path), "sha256": hashlib.sha256(weights).hexdigest()}}
    run = create(runs_root(runs), label("retrain", Path(settings.data).name, told), told)
    for name, network in zip(document_names(told), networks, strict=True):
        run.write(name, network.document())
    if weights is not None:
        run.write(WEIGHTS, weights)
    return proceed(run, execution)


def initial(init: Run | None, networks: Sequence[Architecture], settings: TrainSettings) -> bytes | None:
    """The weights of a finished training that these networks start from, as a safetensors file.

    The classifiers are left out where the data is not the same.

    Raises:
        UsageError: they do not fit, or ``settings.freeze`` without any.
    """
    from safetensors.torch import save

    if init is None:
        if settings.freeze:
            raise UsageError(f"--freeze {settings.freeze} needs --init RUN: there is nothing learnt to keep")
        return None
    weights = read_weights(init.path / "weights.safetensors")
    before = read_architecture(init.path / "architecture.json")
    known = init.told["settings"].get("data") == settings.data
    for network in networks:
        new_head = not known or network.classes != before.classes
        weights = fitting(weights, network, new_head=new_head, where=str(init.path))
        freeze(network.build_meta(), settings.freeze)
    return save(weights)


def fitted(
    architecture: Architecture, shape: tuple[int, int, int], classes: int, settings: TrainSettings
) -> Architecture:
    """The network for these images and classes, with the auxiliary head the recipe asks for."""
    changed = architecture.fitted(shape, classes)
    return changed.changed(auxiliary=settings.auxiliary > 0) if changed.kind == "cell" else changed


def document_names(told: Mapping[str, Any]) -> list[str]:
    """The files of a retraining's networks, in their order."""
    several = told.get("networks")
    return [f"architecture-{network['name']}.json" for network in several] if several else ["architecture.json"]


def candidates(
    targets: Sequence[str], runs: Path | None = None, preset: str = "paper", best: int | None = None
) -> list[Candidate]:
    """The networks a user names, each as :func:`architecture_of`.

    Args:
        best: instead of each search's own cell, the K best of its ranking (searches of several seeds have one).

    Raises:
        UsageError: a target that is no network, that is named twice, or that has no ranking, or one that is too short.
    """
    if twice := [target for target in targets if targets.count(target) > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    sources = [source for target in targets for source in ([target] if best is None else ranked(target, best, runs))]
    return [Candidate(architecture_of(source, runs, preset), source) for source in sources]


def ranked(target: str, best: int, runs: Path | None) -> list[str]:
    """The paths of the K best searches of a run of several seeds."""
    run = None if Path(target).is_file() else find(target, runs_root(runs))
    ranking = run.result.get("ranking", []) if run and run.finished else []
    if run is None or not 1 <= best <= len(ranking):
        counted = f"ranks {len(ranking)} cells" if ranking else "has no ranking: it is no finished search with --seeds"
        raise UsageError(f"--best {best}: {target} {counted}")
    return [str(run.path / f"s{entry['seed']}") for entry in ranking[:best]]


def retrain_one(run: Run, execution: Execution) -> None:
    """One training."""
    if execution.cluster:
        finish_all([run], execution)
        return
    settings = make(TrainSettings, run.told["settings"])
    architecture = read_architecture(run.path / "architecture.json")
    with board.watching(run, partial(learning_rate, settings, part=0.0)) as watch:
        train(
            run,
            architecture,
            settings,
            execution,
            preset=run.told["preset"],
            watch=watch,
            quiet=live.shown.get(),
        )


def retrain_seeds(run: Run, seeds: list[int], execution: Execution) -> None:
    """One training a network and seed; means, intervals and differences over them."""
    networks = run.told.get("networks") or [{"name": "c1", "source": run.told["source"]}]
    children = [
        child_of(run, seed, "architecture.json", name=name, original=document, source=network["source"], title=name)
        for network, document in zip(networks, document_names(run.told), strict=True)
        for seed in seeds
        for name in [f"{network['name']}-s{seed}" if len(networks) > 1 else f"s{seed}"]
    ]
    with live.watching(children):
        results = [child.result for child in finish_all(children, execution)]
    size = len(seeds)
    groups = [results[start : start + size] for start in range(0, len(results), size)]
    summaries = [{**network, **summarise(group)} for network, group in zip(networks, groups, strict=True)]
    alone = summaries[0] if len(summaries) == 1 else {}
    run.write("result.json", {**alone, **combine(summaries)})
