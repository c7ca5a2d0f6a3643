"""Studies of settings under budgets."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nas import data
from nas.commands.carry import proceed
from nas.commands.targets import architecture_of
from nas.commands.told import check_data, tell
from nas.errors import UsageError
from nas.execution import Execution
from nas.run.folder import Run, create, runs_root
from nas.settings import TrainSettings, TuneSettings, plain


def tune(
    tuning: TuneSettings,
    settings: TrainSettings,
    *,
    budgets: Sequence[str],
    spaces: Sequence[str] = (),
    genotype: str | None = None,
    fixed: Mapping[str, Any] | None = None,
    only: Sequence[str] = (),
    seeds: Sequence[int] | None = None,
    engine: Mapping[str, Any] | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Finds the best settings of macro spaces, or of a found cell, under budgets of multiply-adds.

    Args:
        tuning: trials, sampler, mode, ….
        settings: of each training; without ``validation`` a fifth of the training images is held out.
        budgets: such as "20M".
        spaces, genotype: what is tuned.
        fixed, only: knobs that stay at a value; the only ones that stay free.
        seeds: the winners' last trainings; None: none for spaces, the settings' seed for a cell.
        engine: the fields of :class:`nas.tuning.tuner.Engine`.

    Returns:
        the run, with study.db, trials.csv, pareto.json, front.png, winners/ and result.json.

    Raises:
        UsageError, Interrupted: as :func:`search`; a budget that cannot be reached.
    """
    from nas.macro.space import load as load_macro
    from nas.tuning import budget, subject, tuner

    chosen = tuner.Engine(**engine or {})
    chosen.check()
    limits = sorted({budget.parse(text) for text in budgets})
    if not limits or not (spaces or genotype):
        raise UsageError("nas tune needs --space (or --genotype) and --budget, each at least once")
    if settings.freeze:
        raise UsageError(f"--freeze {settings.freeze}: a trial has no trained weights to keep")
    freedom = subject.Freedom(dict(fixed or {}), only, tuning.mode == "fill")
    subjects: list[subject.Subject] = [subject.of_space(load_macro(space), freedom) for space in dict.fromkeys(spaces)]
    if not settings.validation:
        images = settings.limit or len(data.load(settings.data, root=execution.data_root).train)
        settings = replace(settings, validation=images // 5)
    image, classes = check_data(settings, execution)
    if genotype:
        found = architecture_of(genotype, runs).fitted(image, classes)
        subjects.append(subject.of_cell(Path(genotype).stem, found, freedom))
        seeds = [settings.seed] if seeds is None else seeds
    counting = budget.Counting(image, classes, tuning.budget_resolution)
    tuner.check([budget.Budgets(one, counting, freedom.filling) for one in subjects], limits, tuning)
    told = {**tell("tune", settings, "", seeds, None, execution), "seeds": list(seeds or []), "tune": plain(tuning)}
    told |= {"subjects": [one.document() for one in subjects], "budgets": limits, "image": image, "classes": classes}
    name = f"tune-{'+'.join(one.name for one in subjects)}-s{settings.seed}"
    run = create(runs_root(runs), name, {**told, "engine": asdict(chosen)})
    return proceed(run, execution)
