"""Trainings of networks from scratch or from trained weights: many cells, many seeds."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from nas import plugins
from nas.architecture import Architecture, read_architecture
from nas.commands.begin import check_data, check_seeds, label
from nas.commands.children import child_spec, continue_all, continue_any, make_child
from nas.commands.targets import architecture_of
from nas.engine.merged import check_backend
from nas.errors import UsageError
from nas.execution import Execution
from nas.reports import tensorboard as board
from nas.reports.comparison import combine, summarise
from nas.run import live, names
from nas.run.folder import Run, create, find, runs_root
from nas.run.log import Epoch
from nas.run.results import SearchRanking, TrainResult
from nas.run.spec import Candidate, Init, TrainSpec
from nas.settings import TrainSettings
from nas.train.loop import train
from nas.train.schedule import learning_rate
from nas.train.start import fitting, freeze, read_weights


@dataclass(frozen=True)
class Target:
    """A network to train, and where it came from, for the record."""

    architecture: Architecture
    source: str = ""


def retrain(
    architecture: Architecture | Sequence[Target],
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
    """The run of a network's training, with weights and result; of several networks or seeds with a child for each.

    Args:
        architecture: one network, or several with their sources; they are fitted to the data's image size and classes.
        settings: the recipe.
        source: where the one network came from, for the record.
        init: a finished training whose weights to start from; on other data with a new classifier.

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
        ops=plugins.register(ops) if ops else None,
        seeds=check_seeds(seeds),
        tensorboard=tensorboard,
        source=targets[0].source,
    )
    if len(targets) > 1:
        candidates = tuple(Candidate(f"c{number}", target.source) for number, target in enumerate(targets, 1))
        spec = replace(spec, source="", networks=candidates, seeds=spec.seeds or (settings.seed,))
    dataset = check_data(settings, execution)
    networks = [fitted(each.architecture, dataset.shape, len(dataset.classes), settings) for each in targets]
    weights = initial_weights(init, networks, settings)
    if init is not None and weights is not None:
        spec = replace(spec, init=Init(str(init.path), hashlib.sha256(weights).hexdigest()))
    run = begin(runs_root(runs), spec, networks, weights)
    continue_retraining(run, execution)
    return run


def begin(root: Path, spec: TrainSpec, networks: Sequence[Architecture], weights: bytes | None) -> Run:
    """A new run folder with the networks to train and the weights they start from."""
    settings = spec.settings
    run = create(root, label("retrain", settings.data, spec.seeds or [settings.seed]), spec)
    for name, network in zip(document_names(spec), networks, strict=True):
        run.write(name, network.document())
    if weights is not None:
        run.write(names.INIT, weights)
    return run


def initial_weights(init: Run | None, networks: Sequence[Architecture], settings: TrainSettings) -> bytes | None:
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
    weights = read_weights(init.path / names.WEIGHTS)
    before = read_architecture(init.path / names.ARCHITECTURE)
    same_data = init.spec(TrainSpec).settings.data == settings.data
    for network in networks:
        new_head = not same_data or network.classes != before.classes
        weights = fitting(weights, network, new_head=new_head, where=str(init.path))
        freeze(network.build_meta(), settings.freeze)
    return save(weights)


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
    preset: str = "paper",
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
        UsageError: a source that is no network, that is named twice, or that has no ranking, or one that is too short.
    """
    if ops:
        plugins.register(ops)
    if twice := [source for source in sources if sources.count(source) > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    paths = [path for source in sources for path in ([source] if best is None else best_of(source, best, runs))]
    return [Target(architecture_of(path, runs, preset).changed(channels=channels, cells=cells), path) for path in paths]


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
    networks, seeds = spec.networks or (Candidate("c1", spec.source),), spec.seeds or ()
    children: list[list[Run]] = []
    for network, document in zip(networks, document_names(spec), strict=True):
        children.append([])
        for seed in seeds:
            name = f"{network.name}-s{seed}" if len(networks) > 1 else f"s{seed}"
            own = replace(child_spec(spec, seed), networks=None, source=network.source, title=name)
            children[-1].append(make_child(run, name, own, names.ARCHITECTURE, document))
    every = [child for group in children for child in group]
    with live.watching(every):
        continue_all(every, execution, continue_retraining)
    results = [[child.result(TrainResult) for child in group] for group in children]
    run.write(names.RESULT, combine([summarise(*pair) for pair in zip(networks, results, strict=True)]))
