"""Studies: searches of spaces and methods, their cells trained, and random cells of the same cost trained alike."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

import tomli_w

from nas import plugins
from nas.commands.arms import ArmRuns, space_file
from nas.commands.begin import check_data, check_seeds, label
from nas.commands.children import carry_out, continue_all
from nas.commands.retraining import continue_retraining
from nas.commands.searching import check_search, continue_search
from nas.errors import UsageError
from nas.execution import Execution
from nas.presets import TRAIN_PRESETS, final_size, resolve, resolve_search
from nas.reports.studies import StudyDocument, StudySummary, differences, markdown, summarise, without_control
from nas.run import live, names
from nas.run.environment import hardware
from nas.run.folder import Run, create, runs_root
from nas.run.spec import Arm, Size, StudySpec
from nas.settings import StudySettings, TrainSettings, make, recipe_hash
from nas.space import load as load_space


def study(
    settings: StudySettings,
    *,
    ops: Path | None = None,
    name: str | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run of a study, with study.json, table.md and a child for each search and training.

    All children have the same number of threads, so that it does not matter how many run at once.

    Args:
        ops: a file of the user's own operations.
        name: of the run's folder.

    Raises:
        UsageError, Interrupted: as :func:`nas.search`.
    """
    spec = spec_of(settings, execution, ops)
    check(spec, execution)
    spaces = {space_file(arm): load_space(arm.search.space).to_toml() for arm in spec.arms}
    called = label("study", "_".join(map(_plain, settings.space)), spec.seeds)
    run = create(runs_root(runs), called, spec, {**spaces, names.STUDY_SETTINGS: to_toml(settings)}, name)
    return carry_out(run, execution, continue_study)


def spec_of(settings: StudySettings, execution: Execution, ops: Path | None = None) -> StudySpec:
    """What a study is to do.

    Raises:
        UsageError: settings that cannot be; two arms of one name.
    """
    file = plugins.register(ops) if ops else None
    arms = tuple(arm_of(settings, *pair) for pair in product(settings.space, settings.method))
    if twice := [arm.name for arm in arms if [other.name for other in arms].count(arm.name) > 1]:
        raise UsageError(f"two parts of the study are called {twice[0]}: name each --space and --method once")
    for name in sorted({"seed", "space", "method"} & {*settings.search, *settings.retrain}):
        raise UsageError(f"{name} stands outside of [search] and [retrain]: space, method, seeds, retrain_seeds")
    recipe = settings.recipe or settings.preset
    seeds, retrain_seeds = check_seeds(settings.seeds), check_seeds(settings.retrain_seeds, "--retrain-seeds")
    return StudySpec(
        settings=resolve(TrainSettings, TRAIN_PRESETS, recipe, {"data": settings.data, **settings.retrain}),
        execution=execution.resolved(),
        preset=settings.preset,
        ops=file,
        arms=arms,
        seeds=seeds or (),
        retrain_seeds=retrain_seeds or (),
        controls=settings.controls,
    )


def arm_of(settings: StudySettings, space: str, method: str) -> Arm:
    """What a study does with one space and method; errors as of :func:`nas.presets.resolve_search`."""
    own = {"data": settings.data, **settings.search, "space": space, "method": method}
    search = resolve_search(settings.preset, own)
    channels, cells = final_size(settings.preset, load_space(space).skeleton)
    final = make(Size, {"channels": channels, "cells": cells, **settings.final}, "final")
    if final.channels < 2 or final.cells < 1:
        raise UsageError(f"final: channels = {final.channels}, cells = {final.cells}: at least 2 and 1 are needed")
    return Arm(f"{_plain(space)}-{method}", search, final)


def _plain(space: str) -> str:
    """A space's name as a part of a folder's."""
    name = Path(space).stem if space.endswith(".toml") else space
    return "".join(char if char.isalnum() or char in "+=._-" else "_" for char in name)


def check(spec: StudySpec, execution: Execution) -> None:
    """Raises UsageError where data, spaces or sizes cannot be used."""
    for arm in spec.arms:
        check_search(arm.search, load_space(arm.search.space), arm.final, execution)
    check_data(spec.settings, execution)
    if spec.settings.freeze:
        raise UsageError(f"--freeze {spec.settings.freeze}: a study's networks have no trained weights to keep")


def to_toml(settings: StudySettings) -> str:
    """The settings as a STUDY.toml that reads back to the same."""
    return tomli_w.dumps({name: value for name, value in asdict(settings).items() if value != {}})


def continue_study(run: Run, execution: Execution) -> None:
    """Does what is left of a study; a finished one is left as it is."""
    if run.finished:
        return
    spec = run.spec(StudySpec)
    execution = replace(execution, threads=execution.threads or spec.execution.threads)
    arms = [ArmRuns(run, spec, arm, execution) for arm in spec.arms]
    try:
        write_rows(run, spec, arms, execution)
        continue_all([child for arm in arms for child in arm.searches()], execution, continue_search)
        write_rows(run, spec, arms, execution)
        trainings = [child for arm in arms for child in arm.trainings()]
        with live.watching(trainings):
            continue_all(trainings, execution, continue_retraining)
    finally:
        document = write_rows(run, spec, arms, execution)
    summary = summary_of(spec, document)
    run.write(names.TABLE, markdown(summary))
    run.finish(summary)


def write_rows(run: Run, spec: StudySpec, arms: Sequence[ArmRuns], execution: Execution) -> StudyDocument:
    """Writes study.json, as far as the study is, and returns it."""
    document = StudyDocument(about=about(spec, execution), rows=tuple(row for arm in arms for row in arm.rows()))
    run.write(names.STUDY, document)
    return document


def summary_of(spec: StudySpec, document: StudyDocument) -> StudySummary:
    """What a finished study came to."""
    seconds = sum(row.seconds for row in document.rows)
    return StudySummary(
        about=document.about,
        groups=tuple(summarise(document.rows)),
        differences=tuple(differences(document.rows)),
        data=spec.settings.data,
        recipe=recipe_hash(spec.settings),
        hardware=hardware(),
        seconds=round(seconds, 1),
        device_hours=round(seconds / 3600, 4),
        left_out=without_control(document.rows),
    )


def about(spec: StudySpec, execution: Execution) -> str:
    """A sentence that says of what size a study is."""
    searches, training, final = [arm.search for arm in spec.arms], spec.settings, [arm.final for arm in spec.arms]
    images = len(check_data(searches[0], execution).train), len(check_data(training, execution).train)
    return (
        f"{training.data}, preset {spec.preset}: searches (epochs {_span(each.epochs for each in searches)}, "
        f"C={_span(each.channels for each in searches)}, cells {_span(each.cells for each in searches)}, "
        f"images {images[0]:,}), networks (C={_span(each.channels for each in final)}, "
        f"cells {_span(each.cells for each in final)}) trained anew (epochs {training.epochs}, images {images[1]:,}); "
        f"a row: searches {len(spec.seeds)}, random cells {spec.controls}; trainings a cell: {len(spec.retrain_seeds)}"
    )


def _span(values: Iterable[int]) -> str:
    """A number, or the least and the largest of several."""
    every = sorted(set(values))
    return f"{every[0]}" if len(every) == 1 else f"{every[0]} to {every[-1]}"
