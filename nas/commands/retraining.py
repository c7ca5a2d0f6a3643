"""Trainings of networks from scratch or from trained weights: many cells, many seeds."""

import hashlib
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

from nas import plugins
from nas.architecture import Architecture, read_architecture
from nas.commands.begin import check_data, check_seeds, label
from nas.commands.children import carry_out, child_spec, continue_all, continue_any, make_child
from nas.commands.pretrained import Pretrained, of_run
from nas.commands.targets import allow_ops, architecture_of, file_of, spec_around
from nas.engine.merged import check_backend
from nas.errors import UsageError
from nas.execution import Execution
from nas.reports import tensorboard as board
from nas.reports.comparison import combine, summarise
from nas.run import live, names
from nas.run.folder import Run, create, find, runs_root
from nas.run.log import Epoch
from nas.run.results import SearchRanking, TrainResult
from nas.run.spec import Candidate, Init, OpsFile, Spec, TrainSpec
from nas.settings import TrainSettings
from nas.train.loop import train
from nas.train.schedule import learning_rate
from nas.train.start import fitting, freeze
from nas.train.weights import pack


@dataclass(frozen=True)
class Target:
    """A network to train, and where it came from, for the record.

    Args:
        source, sha256: as of :class:`nas.run.spec.TrainSpec`.
        spec: of the run it comes from, if it is known.
        ops: the file of the user's own operations, if it has any.
        sized: whether its input was chosen; a genotype alone says nothing of images.
    """

    architecture: Architecture
    source: str = ""
    sha256: str = ""
    spec: Spec | None = None
    ops: OpsFile | None = None
    sized: bool = True


def retrain(
    architecture: Architecture | Sequence[Target],
    settings: TrainSettings,
    *,
    source: str = "",
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    init: Run | Pretrained | None = None,
    ops: Path | None = None,
    tensorboard: bool = False,
    name: str | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run of a network's training, with weights and result; of several networks or seeds with a child for each.

    Args:
        architecture: one network, or several with their sources; they are fitted to the data's image size and classes.
        settings: the recipe.
        source: where the one network came from, for the record.
        init: a finished training whose weights to start from, or others'; on other data with a new classifier.
        name: of the run's folder.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    if tensorboard:
        board.check()
    check_backend(execution)
    targets = [Target(architecture, source)] if isinstance(architecture, Architecture) else list(architecture)
    if not targets:
        raise UsageError("there is no network to train")
    spec = TrainSpec(
        settings=settings,
        execution=execution.resolved(),
        preset=preset,
        ops=plugins.register(ops) if ops else next((target.ops for target in targets if target.ops), None),
        seeds=check_seeds(seeds),
        tensorboard=tensorboard,
        source=targets[0].source,
        sha256=targets[0].sha256,
    )
    if len(targets) > 1:
        candidates = tuple(Candidate(f"c{number}", one.source, one.sha256) for number, one in enumerate(targets, 1))
        spec = replace(spec, source="", sha256="", networks=candidates, seeds=spec.seeds or (settings.seed,))
    dataset = check_data(settings, execution)
    networks = [fitted(each.architecture, dataset.shape, len(dataset.classes), settings) for each in targets]
    start = of_run(init) if isinstance(init, Run) else init
    weights = initial_weights(start, networks, settings)
    if start is not None and weights is not None:
        spec = replace(spec, init=Init(start.where, hashlib.sha256(weights).hexdigest()))
    called = label("retrain", settings.data, spec.seeds or [settings.seed])
    run = create(runs_root(runs), called, spec, documents_of(spec, networks, weights), name)
    return carry_out(run, execution, continue_retraining)


def documents_of(spec: TrainSpec, networks: Sequence[Architecture], weights: bytes | None) -> dict[str, Any]:
    """The networks to train, and the weights they start from."""
    documents = [replace(network, origin=spec.origin).document() for network in networks]
    start = {} if weights is None else {names.INIT: weights}
    return {**dict(zip(document_names(spec), documents, strict=True)), **start}


def initial_weights(
    start: Pretrained | None, networks: Sequence[Architecture], settings: TrainSettings
) -> bytes | None:
    """The weights that these networks start from, as a safetensors file.

    Raises:
        UsageError: they do not fit, or ``settings.freeze`` without any.
    """
    if start is None:
        if settings.freeze:
            raise UsageError(f"--freeze {settings.freeze} needs --init RUN: there is nothing learnt to keep")
        return None
    classes = networks[0].classes
    if new_head := start.new_head(classes, settings.data):
        before = start.architecture.classes
        said = f"the classifier of {before} classes starts anew, for the {classes} of {settings.data}"
        print(f"--init {start.where}: {said}", file=sys.stderr, flush=True)
    for network in networks:
        weights = fitting(start.weights, network, new_head=new_head, where=start.where)
        freeze(network.build_meta(), settings.freeze)
    return pack(weights)[0]


def fitted(
    architecture: Architecture, shape: tuple[int, int, int], classes: int, settings: TrainSettings
) -> Architecture:
    """The network for these images and classes, with the auxiliary head the recipe asks for."""
    changed = architecture.fitted(shape, classes)
    return changed.changed(auxiliary=settings.auxiliary > 0) if changed.kind == "cell" else changed


def document_names(spec: TrainSpec) -> list[str]:
    """The files of a retraining's networks, in their order."""
    return [f"architecture-{each.name}.json" for each in spec.networks] if spec.networks else [names.ARCHITECTURE]


def targets_of(
    sources: Sequence[str],
    runs: Path | None = None,
    preset: str | None = None,
    best: int | None = None,
    *,
    channels: int | None = None,
    cells: int | None = None,
    ops: Path | None = None,
) -> list[Target]:
    """The networks a user names, each as :func:`architecture_of`.

    Args:
        best: instead of each search's own cell, the K best of its ranking (searches of several seeds have one).
        channels, cells: sizes to have instead of their own.
        ops: a file of the user's own operations, which the networks may have.

    Raises:
        UsageError: a source that is no network, that is named twice, or that has no ranking, or one that is too short;
            sizes of none.
    """
    wanted = {"best": best, "channels": channels, "cells": cells}
    if not sources and (given := [name for name, value in wanted.items() if value is not None]):
        raise UsageError(f"--{given[0]} needs a RUN or an architecture: a network that weights are of has its size")
    paths = [path for source in sources for path in ([source] if best is None else best_of(source, best, runs))]
    files = [file_of(path, runs).resolve() for path in paths]
    if twice := [path for path, file in zip(paths, files, strict=True) if files.count(file) > 1]:
        raise UsageError(f"{twice[-1]} is named twice")
    targets = [target_of(path, runs, preset, ops) for path in paths]
    for one, other in combinations(targets, 2):
        if one.architecture == other.architecture:
            warnings.warn(f"{other.source} is the same network as {one.source}: both are trained", stacklevel=2)
    changes = {"channels": channels, "cells": cells}
    return [replace(target, architecture=target.architecture.changed(**changes)) for target in targets]


def target_of(name: str, runs: Path | None, preset: str | None, ops: Path | None) -> Target:
    """The network a user names, with what is known of it."""
    architecture, path = architecture_of(name, runs, preset, ops), file_of(name, runs)
    content = path.read_bytes()
    return Target(
        architecture,
        source=str((path if Path(name).is_file() else path.parent).resolve()),
        sha256=hashlib.sha256(content).hexdigest(),
        spec=spec_around(path),
        ops=allow_ops(path, ops),
        sized=b'"nas/architecture/' in content,
    )


def best_of(source: str, best: int, runs: Path | None) -> list[str]:
    """The paths of the K best searches of a run of several seeds."""
    run = None if Path(source).is_file() else find(source, runs_root(runs))
    try:
        ranking = run.result(SearchRanking).ranking if run and run.finished else ()
    except UsageError:
        ranking = ()
    if run is None or not 1 <= best <= len(ranking):
        why = f"ranks {len(ranking)} cells" if ranking else "has no ranking: it is no finished search with --seeds"
        raise UsageError(f"--best {best}: {source} {why}")
    return [str(run.path / f"s{entry.seed}") for entry in ranking[:best]]


def continue_retraining(run: Run, execution: Execution) -> None:
    """Does what is left of a retraining; a finished one is left as it is."""
    continue_any(run, execution, TrainSpec, one=retrain_one, several=retrain_seeds, again=continue_retraining)


def retrain_one(run: Run, spec: TrainSpec, execution: Execution) -> None:
    """One training."""
    architecture = read_architecture(run.path / names.ARCHITECTURE)
    rate = partial(learning_rate, spec.settings, part=0.0)
    with board.watching(run, spec.tensorboard, Epoch, rate) as watch:
        quiet = live.shown.get()
        train(run, architecture, spec.settings, execution, preset=spec.preset, watch=watch, quiet=quiet)


def retrain_seeds(run: Run, spec: TrainSpec, execution: Execution) -> None:
    """One training a network and seed; means, intervals and differences over them."""
    networks, seeds = spec.networks or (Candidate("c1", spec.source, spec.sha256),), spec.seeds or ()
    children: list[list[Run]] = []
    for network, document in zip(networks, document_names(spec), strict=True):
        children.append([])
        for seed in seeds:
            name = f"{network.name}-s{seed}" if len(networks) > 1 else f"s{seed}"
            own = replace(
                child_spec(spec, seed), networks=None, source=network.source, sha256=network.sha256, title=name
            )
            children[-1].append(make_child(run, name, own, names.ARCHITECTURE, document))
    for network in networks if len(networks) > 1 else ():
        print(f"{network.name} is {network.source}", file=sys.stderr, flush=True)
    every = [child for group in children for child in group]
    with live.watching(every):
        continue_all(every, execution, continue_retraining)
    results = [[child.result(TrainResult) for child in group] for group in children]
    run.finish(combine([summarise(*pair) for pair in zip(networks, results, strict=True)]))
