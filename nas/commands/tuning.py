"""Studies of settings under budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.amounts import parse
from nas.commands.begin import check_data, check_seeds, label
from nas.commands.children import carry_out
from nas.commands.reporting import report
from nas.commands.targets import architecture_of
from nas.data.dataset import Dataset
from nas.engine.merged import check_backend
from nas.errors import UsageError
from nas.execution import Execution
from nas.exporting import ONNX
from nas.extras import need
from nas.files import write
from nas.knobs import Value
from nas.latency.table import LatencyTable
from nas.macro.published import published
from nas.macro.space import load as load_macro
from nas.pages.figure import drawn
from nas.pages.records import record_of
from nas.pages.trials import draws_of, outcome
from nas.run.documents import read
from nas.run.folder import Run, create, runs_root
from nas.run.names import FRONT, FRONT_PAGE, FRONT_SVG, LATENCIES, TUNED
from nas.settings import TrainSettings, TuneSettings
from nas.train.start import load_data
from nas.tuning import plan
from nas.tuning.results import TuneResult
from nas.tuning.space import FamilySpace, GenotypeSpace, Restriction, family_space, genotype_space
from nas.tuning.spec import TuneSpec
from nas.tuning.tuner import Tuner


def tune(
    tuning: TuneSettings,
    settings: TrainSettings,
    *,
    budgets: Sequence[str],
    preset: str = "paper",
    spaces: Sequence[str] = (),
    genotype: str | None = None,
    fixed: Mapping[str, Value] | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    parallel: int | None = None,
    gpus: float | None = None,
    name: str | None = None,
    latency_table: Path | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run, with winners/ and tables, that tunes macro spaces, or a searched cell, under budgets of multiply-adds.

    Args:
        tuning: trials, sampler, mode, ….
        settings: of each training; without ``validation`` a fifth of the training images is held out.
        preset: what the settings are called.
        budgets, spaces, genotype: such as "20M"; what is tuned.
        fixed, only: knobs that stay at a value; the only ones that stay free.
        seeds: the winners' last trainings; None: none for spaces, the settings' seed for a cell.
        name: of the run's folder.
        latency_table: a device's, as ``nas latency import`` writes it.
        parallel, gpus: as of :class:`TuneSpec`; on the cluster of ``execution``, if it has one.

    Raises:
        UsageError, Interrupted: as :func:`search`; a budget out of reach.
    """
    check_packages(execution, gpus)
    check_backend(execution)
    limits = limits_of(budgets, bool(spaces or genotype), settings)
    restriction = Restriction(dict(fixed or {}), only, tuning.mode == "fill")
    every: list[FamilySpace | GenotypeSpace] = [macro_space(name, restriction) for name in dict.fromkeys(spaces)]
    dataset = check_data(settings := with_held_out(settings, execution), execution)
    if genotype:
        every.append(cell_space(genotype, dataset, restriction, runs))
    spec = TuneSpec(
        settings=settings,
        tune=tuning,
        execution=execution.resolved(),
        preset=preset,
        seeds=check_seeds([settings.seed] if genotype and seeds is None else seeds),
        spaces=tuple(every),
        budgets=limits,
        image=dataset.shape,
        classes=len(dataset.classes),
        parallel=parallel,
        cluster=execution.cluster or None,
        gpus=gpus,
        latency_table=read(latency_table, LatencyTable) if latency_table else None,
    )
    plan.check(spec)
    objectives = [plan.objectives_of(each, tuning, latency_table is not None) for each in spec.budgets_of().values()]
    if any("latency" in each for each in objectives) and not latency_table:
        need("the objective latency", "tune", *ONNX)
    called = label("tune", "+".join(space.name for space in every), [settings.seed])
    documents: dict[str, Any] = {LATENCIES: spec.latency_table} if spec.latency_table else {}
    documents |= {f"{TUNED}/{each.name}.json": each.base.document() for each in every if each.kind == "cell"}
    return carry_out(create(runs_root(runs), called, spec, documents, name), execution, continue_tuning)


def with_held_out(settings: TrainSettings, execution: Execution) -> TrainSettings:
    """The settings, where they hold out no images with a fifth of the training images held out."""
    held_out = settings.validation or len(load_data(settings, execution).train) // 5
    return replace(settings, validation=held_out)


def limits_of(budgets: Sequence[str], subject: bool, settings: TrainSettings) -> tuple[int, ...]:
    """The budgets in multiply-adds, the least first.

    Raises:
        UsageError: no budget or nothing to tune, or trials that were to keep weights they do not have.
    """
    if not budgets or not subject:
        raise UsageError("nas tune needs --space (or --genotype) and --budget, each at least once")
    if settings.freeze:
        raise UsageError(f"--freeze {settings.freeze}: a trial has no trained weights to keep")
    return tuple(sorted({parse(text, "--budget") for text in budgets}))


def check_packages(execution: Execution, gpus: float | None) -> None:
    """Raises UsageError for a package that is not installed, or an option that only a cluster can honour."""
    need("nas tune", "tune", "optuna")
    if execution.cluster:
        need("--cluster", "cluster", "ray")
    elif gpus is not None:
        raise UsageError(f"--gpus {gpus:g} needs --cluster local, or a cluster's address")


def macro_space(name: str, restriction: Restriction) -> FamilySpace:
    """The macro space of that name, as it is tuned; errors as of its parts."""
    space = load_macro(name)
    return family_space(space.name, space.network, space.settings, space.knobs, restriction)


def cell_space(genotype: str, dataset: Dataset, restriction: Restriction, runs: Path | None) -> GenotypeSpace:
    """The cell that a user names, as it is tuned; errors as of its parts."""
    network = architecture_of(genotype, runs).fitted(dataset.shape, len(dataset.classes))
    return genotype_space(Path(genotype).stem, replace(network, origin=None), restriction)


def continue_tuning(run: Run, execution: Execution) -> None:
    """Does what is left of a tuning, its pictures included; a finished one is left as it is."""
    if not run.finished:
        need("nas tune", "tune", "optuna")
        Tuner(run, execution, [(row.network, row.settings) for row in published()]).tune()
    if not (run.path / FRONT_PAGE).exists():
        show(run)


def show(run: Run) -> None:
    """Draws a finished tuning as a page, as PNG and as SVG whose text is text."""
    charts = outcome(run.result(TuneResult), draws_of(record_of(run)))
    for name in (FRONT, FRONT_SVG):
        write(run.path / name, drawn(charts, Path(name).suffix[1:]))
    report([run], run.path / FRONT_PAGE)
