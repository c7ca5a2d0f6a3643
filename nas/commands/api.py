"""The Python API, ``nas.search`` and the rest: what the commands of these names do, by keywords."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from nas.architecture import Architecture, of_genotype
from nas.backbone import Backbone
from nas.cells.genotype import Genotype
from nas.commands import comparing, counting, deriving, reporting, retraining, searching, studying, trained, tuning
from nas.commands import resume as resuming
from nas.commands.finished import Costs, Finished
from nas.commands.keywords import execution_of, with_fields
from nas.data import packed
from nas.knobs import Value
from nas.macro.settings import MacroSettings
from nas.reports.comparison import Comparison
from nas.reports.side_by_side import SideBySide
from nas.reports.studies import StudySummary
from nas.run import names
from nas.run.folder import Run, find, runs_root
from nas.run.results import DeriveResult, SearchRanking, SearchResult, TrainResult
from nas.run.spec import Spec
from nas.settings import (
    TRAIN_PRESETS,
    DeriveSettings,
    SearchSettings,
    StudySettings,
    TrainSettings,
    TuneSettings,
    final_size,
    make,
    resolve,
    resolve_search,
)
from nas.tuning.results import TuneResult

if TYPE_CHECKING:
    from nas.exporting import Export

Place = str | Path | None
Target = str | Path | Run | Finished[Any]
"""A run: its path, its name, ``last``, or what a function here has returned."""
Network = Target | Genotype | Architecture
"""What can be trained: a run, a genotype file or an architecture file, or one of these objects."""


@with_fields(SearchSettings)
def search(
    *,
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    final_channels: int | None = None,
    final_cells: int | None = None,
    ops: Place = None,
    tensorboard: bool = False,
    runs: Place = None,
    **values: Any,
) -> Finished[SearchResult | SearchRanking]:
    """Search a cell by gradient: ``nas.search(space="darts+sandglass", preset="quick")``.

    Args:
        preset: paper or quick.
        seeds: several: a search each, ranked by a short training.
        final_channels, final_cells: size of the network to retrain.
        ops: a Python file with operations of your own.
        data (below): also a torch Dataset or (uint8 images, labels), or a pair of such: training, test.
        runs: folder of run folders.

    Raises:
        UsageError: settings, space or data that cannot be used.
        Interrupted: on a signal, saved: go on by :func:`resume`.
    """
    execution = execution_of(values)
    run = searching.search(
        resolve_search(preset, with_data(values, runs)),
        preset=preset,
        seeds=seeds,
        final_channels=final_channels,
        final_cells=final_cells,
        ops=as_path(ops),
        tensorboard=tensorboard,
        runs=as_path(runs),
        execution=execution,
    )
    return finished(run)


@with_fields(DeriveSettings)
def derive(
    target: Target,
    *,
    final_channels: int | None = None,
    final_cells: int | None = None,
    ops: Place = None,
    runs: Place = None,
    **values: Any,
) -> Finished[DeriveResult]:
    """Derive cells of a search by several selections: ``nas.derive("last", select="budget", max_madds="400M")``.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    execution = execution_of(values)
    run = deriving.derive(
        run_of(target, runs),
        make(DeriveSettings, given(values)),
        final_channels=final_channels,
        final_cells=final_cells,
        ops=as_path(ops),
        runs=as_path(runs),
        execution=execution,
    )
    return finished(run)


@with_fields(TrainSettings)
def retrain(
    *targets: Network,
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    init: Target | None = None,
    best: int | None = None,
    channels: int | None = None,
    cells: int | None = None,
    ops: Place = None,
    tensorboard: bool = False,
    runs: Place = None,
    **values: Any,
) -> Finished[TrainResult | Comparison]:
    """Train networks from scratch and test each once: ``nas.retrain("last", preset="quick", seeds=[0, 1, 2])``.

    Args:
        targets: runs, genotypes or architectures.
        preset: a recipe's name.
        init: start from the trained weights of this run.
        best: the K best cells of each search of several seeds.
        channels, cells: a size to have instead of their own.
        ops, data, runs: as of :func:`search`.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    execution, named = execution_of(values), [text for each in targets if (text := as_text(each))]
    networks = [
        retraining.Target(network.changed(channels=channels, cells=cells), type(each).__name__.lower())
        for each in targets
        if (network := as_network(each, preset))
    ]
    sizes = {"channels": channels, "cells": cells}
    networks += retraining.targets_of(named, as_path(runs), preset, best, ops=as_path(ops), **sizes) if named else []
    run = retraining.retrain(
        networks,
        resolve(TrainSettings, TRAIN_PRESETS, preset, with_data(values, runs)),
        preset=preset,
        seeds=seeds,
        init=run_of(init, runs) if init is not None else None,
        ops=as_path(ops),
        tensorboard=tensorboard,
        runs=as_path(runs),
        execution=execution,
    )
    return finished(run)


@with_fields(TuneSettings, TrainSettings)
def tune(
    *,
    space: str | Sequence[str] = (),
    budget: str | Sequence[str] = (),
    genotype: Target | None = None,
    fixed: Mapping[str, Value] | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    preset: str = "paper",
    parallel: int | None = None,
    gpus: float | None = None,
    runs: Place = None,
    **values: Any,
) -> Finished[TuneResult]:
    """Tune networks under budgets of multiply-adds: ``nas.tune(space="mobilenext", budget="20M", trials=60)``.

    Args:
        space, budget: one or several.
        genotype: tune the cell of this run, or genotype file, instead.
        fixed, only: knobs that stay at a value; the only ones that stay free.
        seeds: of the winners' last trainings.
        preset: recipe of each training.
        parallel, gpus: trials at once; share of a GPU that a trial takes on a cluster.
        data, runs: as of :func:`search`.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    execution, own = execution_of(values), {field.name for field in fields(TuneSettings)}
    values = with_data(values, runs)
    run = tuning.tune(
        make(TuneSettings, {name: value for name, value in values.items() if name in own}),
        resolve(TrainSettings, TRAIN_PRESETS, preset, {k: v for k, v in values.items() if k not in own}),
        budgets=listed(budget),
        spaces=listed(space),
        genotype=as_text(genotype) or None,
        fixed=fixed,
        only=only,
        seeds=seeds,
        parallel=parallel,
        gpus=gpus,
        runs=as_path(runs),
        execution=execution,
    )
    return finished(run)


@with_fields(StudySettings)
def study(*, ops: Place = None, runs: Place = None, **values: Any) -> Finished[StudySummary]:
    """Hold searches against random cells of the same cost: ``nas.study(space=["darts", "darts+sandglass"])``.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    execution, own = execution_of(values), with_data(values, runs)
    own |= {name: listed(own[name]) for name in ("space", "method") if name in own}
    return finished(studying.study(make(StudySettings, own), ops=as_path(ops), runs=as_path(runs), execution=execution))


@with_fields()
def resume(target: Target = "last", *, ops: Place = None, runs: Place = None, **values: Any) -> Finished[Any]:
    """Go on with an interrupted run of any command; a finished one is returned as it is.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    run = run_of(target, runs)
    resuming.resume(run, execution_of(values), as_path(ops))
    return finished(run)


@with_fields()
def evaluate(target: Target, *, runs: Place = None, **values: Any) -> trained.Evaluation:
    """Test a trained network again; every opening of the test set is counted.

    Raises:
        UsageError: the run is no finished training.
    """
    return trained.evaluate(run_of(target, runs), execution_of(values))


@with_fields()
def export(
    target: Target, to: str = "onnx", *, out: Place = None, ops: Place = None, runs: Place = None, **values: Any
) -> "Export":
    """Write a trained network in a form that runs elsewhere; errors as of :func:`nas.commands.trained.export`.

    Args:
        to: onnx, int8, torch, …: a name in ``nas.exporting.FORMS``.
        out: file or folder to write; None: inside the run folder.
    """
    execution = execution_of({"device": "cpu", **values})
    return trained.export(run_of(target, runs), to, execution, out=as_path(out), ops=as_path(ops))


@with_fields(MacroSettings)
def cost(
    *targets: Network,
    space: str | None = None,
    resolution: int | tuple[int, int] | None = None,
    classes: int = counting.CLASSES,
    stem: str = counting.STEM,
    runs: Place = None,
    **values: Any,
) -> Costs:
    """Count what networks cost: ``nas.cost("last")``, or ``nas.cost(space="mobilenext", width=0.5)["…"].madds``.

    Args:
        targets: runs, genotypes or architectures.
        space: a macro network or space instead, at the settings below.
        resolution: side in pixels, or (height, width); None: a target's own, of a space 224.
        classes, stem: of a space.

    Raises:
        UsageError: an unknown network or setting, an input it cannot take.
    """
    execution_of(values)
    side = (resolution, resolution) if isinstance(resolution, int) else resolution
    networks = {
        as_text(each): counting.network_of(as_text(each), as_path(runs), side) for each in targets if as_text(each)
    }
    networks |= {str(place): one for place, each in enumerate(targets, 1) if (one := as_network(each))}
    if space:
        networks |= counting.networks_of_space(space, given(values), side or counting.RESOLUTION, classes, stem)
    costs = {name: counting.cost_of(network) for name, network in networks.items()}
    return Costs(costs, {name: network.input for name, network in networks.items()})


def compare(*targets: Target, unlike: bool = False, runs: Place = None) -> SideBySide:
    """Put finished runs side by side, ranked where they were had on equal terms; errors as of the command.

    Args:
        unlike: rank unlike ones too.
    """
    return comparing.compare([as_text(target) for target in targets], unlike=unlike, runs=as_path(runs))


def report(*targets: Target, out: Place = None, runs: Place = None) -> Path:
    """Write one HTML file about runs, going on or finished, and return its path.

    Args:
        out: the file; None: ``report.html`` in the first run's folder.

    Raises:
        UsageError: no such run, one named twice or damaged; the file cannot be written.
    """
    return reporting.report([run_of(target, runs) for target in targets], as_path(out))


def load(target: Target, *, runs: Place = None) -> nn.Module:
    """The trained network of a run or exported folder, in evaluation mode: images (N, 3, H, W), normalised → logits.

    Raises:
        UsageError: no weights there, or they do not fit.
    """
    return trained.load(folder_of(target, runs))


def features(
    target: Target,
    levels: Sequence[str] | Mapping[str, str] | None = None,
    output_stride: int | None = None,
    *,
    runs: Place = None,
) -> Backbone:
    """The trained network of a run or exported folder as a backbone; see :func:`nas.commands.trained.features`."""
    return trained.features(folder_of(target, runs), levels, output_stride)


def pack(train: Any, test: Any = None, folder: str | Path = "data") -> str:
    """Keep images of your own in a file, whose path is a name of data; see :func:`nas.data.packed.pack`."""
    return str(packed.pack(train, test, Path(folder)).resolve())


def finished(run: Run) -> Finished[Any]:
    """A finished run with its result, by its command."""
    several = bool(run.spec(Spec).seeds)
    kinds: dict[str, type] = {
        "search": SearchRanking if several else SearchResult,
        "retrain": Comparison if several else TrainResult,
        "derive": DeriveResult,
        "study": StudySummary,
        "tune": TuneResult,
    }
    return Finished(run, run.result(kinds.get(run.command, TrainResult)))


def run_of(target: Target, runs: Place) -> Run:
    """The run that is meant."""
    return target if isinstance(target, Run) else find(as_text(target), runs_root(as_path(runs)))


def folder_of(target: Target, runs: Place) -> Path:
    """An exported folder as it is named, or a run's."""
    path = Path(as_text(target))
    return path if (path / names.ARCHITECTURE).is_file() else run_of(target, runs).path


def as_text(target: object) -> str:
    """A run or file as the command line would name it; empty for what has no name there."""
    if isinstance(target, Run | Finished):
        return str(target.path)
    return str(target) if isinstance(target, str | Path) else ""


def as_network(target: object, preset: str = "paper") -> Architecture | None:
    """An object as the network it is; a genotype has the preset's size."""
    if isinstance(target, Genotype):
        channels, cells = final_size(preset, target.skeleton)
        return of_genotype(target, channels=channels, cells=cells)
    return target if isinstance(target, Architecture) else None


def as_path(place: Place) -> Path | None:
    """A path, if there is one."""
    return None if place is None else Path(place)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The keywords that have a value."""
    return {name: value for name, value in values.items() if value is not None}


def listed(value: str | Sequence[str]) -> list[str]:
    """One or several."""
    return [value] if isinstance(value, str) else list(value)


def with_data(values: Mapping[str, Any], runs: Place) -> dict[str, Any]:
    """The keywords, images of one's own put into a file beside the runs."""
    data = values.get("data")
    if data is None or isinstance(data, str | Path):
        return given({**values, "data": data and str(data)})
    both = isinstance(data, tuple | list) and len(data) == 2 and not hasattr(data[0], "dtype")
    train, test = data if both else (data, None)
    return given({**values, "data": pack(train, test, runs_root(as_path(runs)) / "data")})
