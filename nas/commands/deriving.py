"""Cells derived of a search's supernet: one selection, or several side by side."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import plugins
from nas.bilevel.build import build_supernet
from nas.bilevel.derivation import EdgeCosts, check_limits, frontier, log_strength
from nas.bilevel.halves import Halves
from nas.bilevel.projection import Projection, batch_accuracy, whole_batches
from nas.bilevel.selection import SELECTIONS, Basis
from nas.bilevel.stages import alphas_of, space_of_stage, stage_at, stages
from nas.cells.assembly import one_hot
from nas.cells.draw import draw
from nas.cells.genotype import Genotype
from nas.cells.supernet import Supernet
from nas.commands.begin import check_data, label
from nas.commands.children import carry_out
from nas.commands.edge_costs import edge_costs
from nas.commands.found_cell import cost_of_cell, read_genotype, write_cell
from nas.data.dataset import Dataset
from nas.engine.merged import check_backend
from nas.errors import UsageError
from nas.execution import Execution
from nas.macro.networks import usual_stem
from nas.pages import frontier as curve
from nas.run import names
from nas.run.environment import hardware
from nas.run.folder import Documents, Run, create, runs_root
from nas.run.log import ProjectionRound, SearchEpoch
from nas.run.results import Derivation, DeriveResult
from nas.run.spec import DeriveSpec, SearchSpec, Size
from nas.settings import BUDGET_ALONE, NO_LIMIT, DeriveSettings, SearchSettings
from nas.space import CellSpace
from nas.space import load as load_space
from nas.train import checkpoint
from nas.train.fingerprint import fingerprint
from nas.train.weights import pack, read_weights


def derive(
    source: Run,
    settings: DeriveSettings = DeriveSettings(),  # noqa: B008 - frozen
    *,
    final_channels: int | None = None,
    final_cells: int | None = None,
    ops: Path | None = None,
    name: str | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run of one or several selections from a search's newest checkpoint.

    Args:
        source: the search; it need not be finished.
        settings: the selections and their settings; what is None there is as in the search.
        final_channels, final_cells: size of the network that costs are of; None: the search's.
        ops: the file of the user's own operations, if the search has any.
        name: of the run's folder.

    Returns:
        the run, with genotype-<select>.json and cells-<select>.svg each, and result.json.

    Raises:
        UsageError: no search, or nothing learnt yet; selections that make no sense; a limit that cannot be kept.
        Interrupted: on a signal, saved.
    """
    spec = spec_of(source)
    plugins.allow(spec.ops, ops)
    state = checkpoint.load(source.path / names.CHECKPOINT)
    if state is None:
        raise UsageError(f"run {source.path} has no checkpoint yet: there is nothing to derive from")
    check_backend(execution)
    execution = replace(execution, data_root=execution.data_root or spec.execution.data_root)
    plan = stages(spec.settings)
    stage = stage_at(plan, state.epoch + (state.done > 0))
    whole = space_of(source, spec.settings)
    left = space_of_stage(whole, plan, stage, alphas_of(source))
    own = DeriveSpec(
        settings=resolve_derive(settings, spec.settings),
        execution=execution.resolved(),
        preset=spec.preset,
        ops=spec.ops,
        search=stage.settings,
        source=str(source.path.resolve()),
        epoch=state.epoch,
        final=Size(final_channels or spec.final.channels, final_cells or spec.final.cells),
    )
    if limits := own.settings.limits:
        check_limits(costs_of(whole, own.final, check_data(spec.settings, execution)), limits)
    called = label("derive", spec.settings.space, [spec.settings.seed])
    run = create(runs_root(runs), called, own, copies(whole, left, state.parts["supernet"]), name)
    return carry_out(run, execution, continue_deriving)


def spec_of(source: Run) -> SearchSpec:
    """What a search is to do.

    Raises:
        UsageError: the run is no search, or several of them.
    """
    if source.command != "search":
        raise UsageError(f"run {source.path} is no search, but a {source.command}: there is no supernet to derive from")
    spec = source.spec(SearchSpec)
    if spec.seeds:
        raise UsageError(f"run {source.path} is a search of each seed: name one, {source.path}/s{spec.seeds[0]}")
    return spec


def resolve_derive(settings: DeriveSettings, search: SearchSettings) -> DeriveSettings:
    """The settings, where they are empty the search's.

    Raises:
        UsageError: a selection that cannot be made of this search or lacks its limit; a limit for none; too few images.
    """
    given = settings.limits
    select = settings.select or ("budget" if given else search.select)
    selections = settings.selections or [select]
    if given and "budget" not in selections:
        raise UsageError(f"--select {select}: {BUDGET_ALONE}")
    if "perturbation" in selections and search.relaxation == "path":
        raise UsageError("--select perturbation: a search of drawn paths has no mixture to take an operation from")
    if "perturbation" in selections and (search.partial > 1 or search.stage_partials):
        raise UsageError("--select perturbation: of a search with --partial it would weaken what passes by too")
    if settings.images is not None and settings.images < search.batch:
        raise UsageError(f"--images {settings.images}: at least a batch of the search is needed, {search.batch} images")
    limiting: DeriveSettings | SearchSettings = settings if given or "budget" not in selections else search
    if "budget" in selections and not limiting.limits:
        raise UsageError(NO_LIMIT)
    return replace(
        settings,
        select=",".join(dict.fromkeys(selections)),
        max_madds=limiting.max_madds,
        max_params=limiting.max_params,
        threshold=settings.threshold or search.threshold,
        tune_epochs=settings.tune_epochs or max(1, round(search.epochs / 10)),
    )


def space_of(run: Run, search: SearchSettings, file: str = names.SPACE) -> CellSpace:
    """The space of a search, from a run's own copy of it."""
    return replace(load_space(str(run.path / file)), name=search.space)


def costs_of(space: CellSpace, final: Size, dataset: Dataset) -> EdgeCosts:
    """What the choices of a space cost in the network to retrain."""
    return edge_costs(space, final, dataset.shape, len(dataset.classes), usual_stem(dataset.shape))


def copies(space: CellSpace, left: CellSpace, supernet: Mapping[str, Tensor]) -> Documents:
    """A derivation's own copies of the search's space, of what its last stage left, and of its supernet."""
    return {names.SPACE: space.to_toml(), names.STAGE: left.to_toml(), names.INIT: pack(supernet)[0]}


def select(run: Run, spec: SearchSpec, supernet: Supernet, execution: Execution) -> Genotype:
    """The cell of a search, by its own selection; one by perturbation is a run inside of it.

    What a stage of the search has dropped has strength 0: it comes back only where a limit cannot be kept without.
    """
    settings, space = spec.settings, space_of(run, spec.settings)

    def project() -> Genotype:
        own = DeriveSpec(
            settings=resolve_derive(DeriveSettings(), settings),
            execution=spec.execution,
            preset=spec.preset,
            ops=spec.ops,
            search=stages(settings)[-1].settings,
            source=str(run.path.resolve()),
            epoch=len(run.log(SearchEpoch)),
            final=spec.final,
        )
        child = run.child("perturbation", own, copies(space, supernet.space, supernet.state_dict()))
        continue_deriving(child, execution)
        return read_genotype(child)

    costs = partial(costs_of, space, spec.final, check_data(settings, execution))
    strengths = strengths_of(supernet)
    return SELECTIONS[settings.select](Basis(space, strengths, settings.threshold, settings.limits, costs, project))


def continue_deriving(run: Run, execution: Execution) -> None:
    """Does what is left of a derivation; a finished one is left as it is."""
    if run.finished:
        return
    spec = run.spec(DeriveSpec)
    settings, search = spec.settings, spec.search
    device, space = execution.start(), space_of(run, search)
    halves = Halves.of(search, execution, device)
    supernet = supernet_of(run, spec, len(halves.dataset.classes), device, execution.backend)
    judges = whole_batches(halves.valid, search.batch, settings.images)

    def project() -> Genotype:
        own = supernet_of(run, spec, len(halves.dataset.classes), device, execution.backend)
        epochs = settings.tune_epochs or 1
        return Projection(run, search, own, halves, device, images=settings.images, epochs=epochs).genotype()

    strengths, costs = strengths_of(supernet), cache(partial(costs_of, space, spec.final, halves.dataset))
    basis = Basis(space, strengths, settings.threshold or search.threshold, settings.limits, costs, project)
    quick_first = sorted(settings.selections, key="perturbation".__eq__)  # whose mistakes come before hours of tuning
    genotypes = {name: SELECTIONS[name](basis) for name in quick_first}
    accuracy = partial(batch_accuracy, supernet, judges, halves, search)
    before = accuracy(mixing_of(supernet, search))
    figures = partial(row, run=run, basis=basis, spec=spec, dataset=halves.dataset, accuracy=accuracy)
    cells = tuple(figures(name, genotypes[name]) for name in settings.selections)
    if settings.curve:
        write_frontier(run, basis, cells)
    only = cells[0] if len(cells) == 1 else None
    if only:
        write_cell(run, genotypes[only.select], spec, halves.dataset)
    result = DeriveResult(
        source=spec.source,
        sha256=hashlib.sha256((run.path / names.INIT).read_bytes()).hexdigest(),
        epoch=spec.epoch,
        epochs=search.epochs,
        images=len(judges),
        valid_accuracy=before,
        cells=cells,
        space=search.space,
        seed=search.seed,
        hardware=hardware(),
        params=only.params if only else None,
        madds=only.madds if only else None,
        fingerprint=fingerprint(search, execution),
    )
    run.finish(result)


def supernet_of(run: Run, spec: DeriveSpec, classes: int, device: str, backend: str) -> Supernet:
    """The search's supernet; it mixes operations even where the search drew paths, and has no skip beside a mixture."""
    search = spec.search
    mixed = replace(search, relaxation="softmax") if search.relaxation == "path" else search
    supernet = build_supernet(mixed, space_of(run, search, names.STAGE), classes, backend)
    supernet.load_state_dict(read_weights(run.path / names.INIT))
    supernet.skip = None if supernet.skip is None else 0.0
    return supernet.to(device).to(memory_format=torch.channels_last)


def strengths_of(supernet: Supernet) -> dict[str, Tensor]:
    """What a cell is derived from."""
    return {kind: weights.detach().cpu() for kind, weights in supernet.strengths().items()}


def mixing_of(supernet: Supernet, search: SearchSettings) -> dict[str, Tensor]:
    """What the search evaluates with: its weights free of noise, or, of drawn paths, the likeliest one."""
    mixing: dict[str, Tensor] = supernet.mixing()
    if search.relaxation != "path":
        return mixing
    return {kind: F.one_hot(weights.argmax(-1), weights.shape[1]).float() for kind, weights in mixing.items()}


def row(
    name: str,
    genotype: Genotype,
    *,
    run: Run,
    basis: Basis,
    spec: DeriveSpec,
    dataset: Dataset,
    accuracy: Callable[[Mapping[str, Tensor]], float],
) -> Derivation:
    """A cell's figures; its genotype and its picture are written."""
    run.write(f"genotype-{name}.json", genotype.document())
    draw(genotype, run.path / f"cells-{name}.svg", "svg")
    cost = cost_of_cell(genotype, spec.final, dataset)
    chosen, plain = one_hot(basis.space, genotype), one_hot(basis.space, SELECTIONS["strongest"](basis))
    tuned = run.log(ProjectionRound)[-1].valid_accuracy if name == "perturbation" else None
    return Derivation(
        select=name,
        genotype=genotype.digest,
        changed=sum(int((plain[kind] > chosen[kind]).sum()) for kind in plain),
        params=cost.params,
        madds=cost.madds,
        skips=genotype.edge_operations.count("skip_connect"),
        log_strength=log_strength(basis.space, basis.strengths, genotype),
        valid_accuracy=accuracy(chosen),
        tuned_accuracy=tuned,
    )


def write_frontier(run: Run, basis: Basis, cells: tuple[Derivation, ...]) -> None:
    """The frontier of score and multiply-adds as a table and a picture; of options that score the same the cheapest.

    Cells of other selections are not marked: their scores are sums over fewer edges, or no aim of theirs.
    """
    points = {option.log_strength: option.cost for option in frontier(basis.strengths, basis.costs())}
    marks = [
        curve.Mark(cell.select, cell.log_strength, cell.madds)
        for cell in cells
        if cell.select in ("strongest", "budget")
    ]
    curve.write_frontier(points, marks, basis.limits.madds, run.path / names.CURVE_TABLE, run.path / names.CURVE)
