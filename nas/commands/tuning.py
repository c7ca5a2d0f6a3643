"""Studies of settings under budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from nas.commands.begin import check_data, check_seeds, label
from nas.commands.children import advice
from nas.commands.targets import architecture_of
from nas.errors import UsageError
from nas.execution import Execution
from nas.extras import need
from nas.knobs import Value
from nas.macro.published import published
from nas.macro.space import load as load_macro
from nas.run.folder import Run, create, runs_root
from nas.settings import TrainSettings, TuneSettings
from nas.train.start import load_data
from nas.tuning import plan
from nas.tuning.budgets import parse
from nas.tuning.space import FamilySpace, GenotypeSpace, Restriction, family_space, genotype_space
from nas.tuning.spec import TuneSpec
from nas.tuning.tuner import Tuner


def tune(
    tuning: TuneSettings,
    settings: TrainSettings,
    *,
    budgets: Sequence[str],
    spaces: Sequence[str] = (),
    genotype: str | None = None,
    fixed: Mapping[str, Value] | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    parallel: int | None = None,
    gpus: float | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run that finds the best settings of macro spaces, or of a searched cell, under budgets of multiply-adds.

    Args:
        tuning: trials, sampler, mode, ….
        settings: of each training; without ``validation`` a fifth of the training images is held out.
        budgets: such as "20M".
        spaces, genotype: what is tuned.
        fixed, only: knobs that stay at a value; the only ones that stay free.
        seeds: the winners' last trainings; None: none for spaces, the settings' seed for a cell.
        parallel, gpus: as of :class:`TuneSpec`; on the cluster of ``execution``, if it has one.

    Returns:
        the run, with study.db, trials.csv, pareto.json, front.png, winners/ and result.json.

    Raises:
        UsageError, Interrupted: as :func:`search`; a budget that cannot be reached.
    """
    check_packages(execution, gpus)
    limits = tuple(sorted({parse(text) for text in budgets}))
    if not limits or not (spaces or genotype):
        raise UsageError("nas tune needs --space (or --genotype) and --budget, each at least once")
    if settings.freeze:
        raise UsageError(f"--freeze {settings.freeze}: a trial has no trained weights to keep")
    restriction = Restriction(dict(fixed or {}), only, tuning.mode == "fill")
    tuned: list[FamilySpace | GenotypeSpace] = [macro_space(name, restriction) for name in dict.fromkeys(spaces)]
    if not settings.validation:
        settings = replace(settings, validation=len(load_data(settings, execution).train) // 5)
    dataset = check_data(settings, execution)
    if genotype:
        network = architecture_of(genotype, runs).fitted(dataset.shape, len(dataset.classes))
        tuned.append(genotype_space(Path(genotype).stem, network, restriction))
        seeds = [settings.seed] if seeds is None else seeds
    spec = TuneSpec(
        settings=settings,
        tune=tuning,
        execution=execution.resolved(),
        seeds=check_seeds(seeds),
        spaces=tuple(tuned),
        budgets=limits,
        image=dataset.shape,
        classes=len(dataset.classes),
        parallel=parallel,
        cluster=execution.cluster or None,
        gpus=gpus,
    )
    plan.check(spec)
    run = create(runs_root(runs), label("tune", "+".join(space.name for space in tuned), [settings.seed]), spec)
    continue_tuning(run, execution)
    return run


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


def continue_tuning(run: Run, execution: Execution) -> None:
    """Does what is left of a tuning; a finished one is left as it is."""
    if run.finished:
        return
    need("nas tune", "tune", "optuna")
    with advice(run):
        Tuner(run, execution, [(row.network, row.settings) for row in published()]).tune()
