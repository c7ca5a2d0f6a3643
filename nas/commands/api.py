"""The Python API, ``nas.search`` and the rest: what the commands of these names do, by keywords."""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import nn

from nas.architecture import Architecture, of_genotype
from nas.backbone import Backbone
from nas.cells.genotype import Genotype
from nas.commands import comparing, counting, deriving, reporting, retraining, searching, studying, trained, tuning
from nas.commands import resume as resuming
from nas.commands.inheritance import train
from nas.commands.keywords import divided, with_fields
from nas.commands.pretrained import pretrained
from nas.commands.views import Costs, View
from nas.data import tensors
from nas.errors import UsageError
from nas.exporting import Export
from nas.macro.settings import MacroSettings
from nas.presets import TRAIN_PRESETS, final_size, resolve, resolve_search
from nas.reports.comparison import Comparison
from nas.reports.side_by_side import SideBySide
from nas.reports.studies import StudySummary
from nas.run import names
from nas.run.folder import Run, find, runs_root
from nas.run.results import DeriveResult, SearchRanking, SearchResult, TrainResult
from nas.run.spec import Spec
from nas.settings import DeriveSettings, SearchSettings, StudySettings, TrainSettings, TuneSettings, make
from nas.tuning.results import TuneResult

Target = str | Path | Run | View[Any]
"""A run: its path, its name, ``last``, or what a function here has returned."""
Place = str | Path | None
Network = Target | Genotype | Architecture
"""What can be trained: a run, a genotype file or an architecture file, or one of these objects."""


@with_fields(searching.search, SearchSettings)
def search(**values: Any) -> View[SearchResult | SearchRanking]:
    """Search a cell by gradient: ``nas.search(space="darts+sandglass", preset="quick")``."""
    own, rest = divided(values, searching.search, SearchSettings)
    return view_of(searching.search(resolve_search(own.get("preset", "paper"), rest), **own))


@with_fields(deriving.derive, DeriveSettings)
def derive(source: Target, **values: Any) -> View[DeriveResult]:
    """Derive cells of a search by several selections: ``nas.derive("last", select="budget", max_madds="400M")``."""
    own, rest = divided(values, deriving.derive, DeriveSettings)
    return view_of(deriving.derive(run_of(source, own.get("runs")), make(DeriveSettings, rest), **own))


@with_fields(retraining.retrain, TrainSettings)
def retrain(
    *targets: Network, best: int | None = None, channels: int | None = None, cells: int | None = None, **values: Any
) -> View[TrainResult | Comparison]:
    """Train networks and test each once: ``nas.retrain("last", preset="quick", seeds=[0, 1, 2])``.

    ``best`` takes the K best cells of searches of several seeds, ``channels`` and ``cells`` another size. What networks
    come with, data, input and recipe, is gone on with where nothing else is said, and printed.
    """
    own, rest = divided(values, retraining.retrain, TrainSettings)
    preset, runs = own.get("preset"), own.get("runs")
    objects = {str(place): network for place, each in enumerate(targets, 1) if (network := as_network(each, preset))}
    size: dict[str, Any] = {"channels": channels, "cells": cells}
    networks = [retraining.Target(network.changed(**size), name) for name, network in objects.items()]
    texts = [text for each in targets if (text := as_text(each))]
    if texts or not objects:
        networks += retraining.targets_of(texts, runs, preset, best, ops=own.get("ops"), **size)
    start = pretrained(as_text(own.pop("init")), runs, own.get("ops")) if "init" in own else None
    return view_of(train(networks, rest, own.pop("preset", None), init=start, **own))


@with_fields(tuning.tune, TuneSettings, TrainSettings)
def tune(*, preset: str = "paper", **values: Any) -> View[TuneResult]:
    """Tune networks under budgets: ``nas.tune(spaces=["mobilenext"], budgets=["20M"], trials=60)``."""
    own, rest = divided(values, tuning.tune, TuneSettings, TrainSettings)
    trials = {field.name: rest.pop(field.name) for field in fields(TuneSettings) if field.name in rest}
    own |= {name: [own[name]] for name in ("spaces", "budgets", "only") if isinstance(own.get(name), str)}
    if "genotype" in own:
        own["genotype"] = as_text(own["genotype"])
    settings = resolve(TrainSettings, TRAIN_PRESETS, preset, rest)
    return view_of(tuning.tune(make(TuneSettings, trials), settings, preset=preset, **{"budgets": (), **own}))


@with_fields(studying.study, StudySettings)
def study(**values: Any) -> View[StudySummary]:
    """Hold searches against random cells of the same cost: ``nas.study(space=["darts", "darts+sandglass"])``."""
    own, rest = divided(values, studying.study, StudySettings)
    return view_of(studying.study(make(StudySettings, rest), **own))


@with_fields(resuming.resume)
def resume(target: Target = "last", *, runs: Place = None, **values: Any) -> View[Any]:
    """Go on with an interrupted run of any command; a finished one is returned as it is."""
    own, _ = divided(values, resuming.resume)
    run = run_of(target, runs)
    resuming.resume(run, **own)
    return view_of(run)


@with_fields(trained.evaluate)
def evaluate(target: Target, *, runs: Place = None, **values: Any) -> trained.Evaluation:
    """Test a trained network again; every opening of the test set is counted."""
    own, _ = divided(values, trained.evaluate)
    return trained.evaluate(run_of(target, runs), **own)


@with_fields(trained.export)
def export(target: Target, to: str = "onnx", *, runs: Place = None, **values: Any) -> Export:
    """Write a trained network in a form that runs elsewhere: ``nas.export("last", "onnx")``."""
    own, _ = divided({**values, "device": "cpu"}, trained.export)
    return trained.export(run_of(target, runs), to, **own)


@with_fields(counting.networks_of_space, MacroSettings)
def cost(
    *targets: Network,
    space: str = "",
    resolution: int | None = None,
    classes: int = counting.CLASSES,
    stem: str = counting.STEM,
    runs: Place = None,
    **values: Any,
) -> Costs:
    """Count what networks cost: ``nas.cost("last")``, or ``nas.cost(space="mobilenext", width=0.5)``.

    ``resolution`` is the side in pixels, of a space 224 if not given, of other networks their own.
    """
    _, rest = divided(values, counting.networks_of_space, MacroSettings)
    if not space and (rest or (classes, stem) != (counting.CLASSES, counting.STEM)):
        raise UsageError(f'{next(iter(rest), "classes or stem")} needs space=, such as space="mobilenet_v2"')
    side = (resolution, resolution) if resolution else None
    networks = {text: counting.network_of(text, as_path(runs), side) for each in targets if (text := as_text(each))}
    networks |= {str(place): network for place, each in enumerate(targets, 1) if (network := as_network(each))}
    if space:
        networks |= counting.networks_of_space(space, rest, side or counting.RESOLUTION, classes, stem)
    costs = {name: counting.cost_of(network) for name, network in networks.items()}
    return Costs(costs, {name: network.input for name, network in networks.items()})


def compare(*targets: Target, unlike: bool = False, runs: Place = None) -> SideBySide:
    """Put finished runs side by side, ranked where they were had on equal terms, or (``unlike``) all the same.

    Raises:
        UsageError: as :func:`nas.commands.comparing.compare`.
    """
    return comparing.compare([as_text(target) for target in targets], unlike=unlike, runs=as_path(runs))


def report(*targets: Target, out: Place = None, runs: Place = None) -> Path:
    """Write one HTML file about runs, going on or finished, in the first one's folder or ``out``; its path.

    Raises:
        UsageError: as :func:`nas.commands.reporting.report`.
    """
    return reporting.report([run_of(target, runs) for target in targets], as_path(out))


def load(target: Target, *, ops: Place = None, runs: Place = None) -> nn.Module:
    """The trained network of a run or exported folder, in evaluation mode: images (N, 3, H, W), normalised → logits.

    Args:
        ops: the file of the user's own operations, if it has any.

    Raises:
        UsageError: no weights there, or they do not fit; operations whose file is neither named nor trusted.
    """
    return trained.load(folder_of(target, runs), ops)


def features(
    target: Target,
    levels: Sequence[str] | Mapping[str, str] | None = None,
    output_stride: int | None = None,
    ops: Place = None,
) -> Backbone:
    """The trained network of a run or exported folder as a backbone; see :func:`nas.commands.trained.features`."""
    return trained.features(folder_of(target, None), levels, output_stride, ops)


def pack(train: Any, test: Any = None, folder: str | Path = "data") -> str:
    """Keep images of your own in a file, whose path is a name of data; see :func:`nas.data.tensors.pack`."""
    return str(tensors.pack(train, test, Path(folder)).resolve())


def view_of(run: Run) -> View[Any]:
    """A finished run with its result, by its command."""
    several = bool(run.spec(Spec).seeds)
    kinds: dict[str, type] = {
        "search": SearchRanking if several else SearchResult,
        "retrain": Comparison if several else TrainResult,
        "derive": DeriveResult,
        "study": StudySummary,
        "tune": TuneResult,
    }
    return View(run, run.result(kinds[run.command]))


def run_of(target: Target, runs: Place) -> Run:
    """The run that is meant."""
    return target if isinstance(target, Run) else find(as_text(target), runs_root(as_path(runs)))


def folder_of(target: Target, runs: Place) -> Path:
    """An exported folder as it is named, or a run's."""
    path = Path(as_text(target))
    return path if (path / names.ARCHITECTURE).is_file() else run_of(target, runs).path


def as_path(place: Place) -> Path | None:
    """A path, if there is one."""
    return None if place is None else Path(place)


def as_text(target: object) -> str:
    """A run or file as the command line would name it; empty for what has no name there."""
    if isinstance(target, Run | View):
        return str(target.path)
    return str(target) if isinstance(target, str | Path) else ""


def as_network(target: object, preset: str | None = None) -> Architecture | None:
    """An object as the network it is; a genotype has the preset's size."""
    if isinstance(target, Genotype):
        channels, cells = final_size(preset or "paper", target.skeleton)
        return of_genotype(target, channels=channels, cells=cells)
    return target if isinstance(target, Architecture) else None
