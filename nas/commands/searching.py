"""Searches: one a seed, ranked by short trainings."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from nas import plugins
from nas.architecture import read_architecture
from nas.bilevel.derivation import check_limits
from nas.bilevel.epoch import skip_share
from nas.bilevel.loop import learning_rate
from nas.bilevel.loop import search as search_cell
from nas.bilevel.sentinel import alarms_of
from nas.bilevel.stages import stages
from nas.cells.genotype import Genotype
from nas.commands.begin import check_data, check_seeds, label
from nas.commands.chance import against_chance
from nas.commands.children import carry_out, child_spec, continue_all, continue_any, make_child
from nas.commands.deriving import costs_of, select, space_of
from nas.commands.found_cell import cost_of_cell, read_genotype, write_cell
from nas.data.dataset import Dataset
from nas.engine.merged import check_backend
from nas.errors import UsageError
from nas.execution import Execution
from nas.presets import TRAIN_PRESETS, final_size, resolve
from nas.reports import tensorboard as board
from nas.run import names
from nas.run.environment import hardware
from nas.run.folder import Run, create, runs_root
from nas.run.hints import on
from nas.run.log import SearchEpoch
from nas.run.results import Chance, Rank, SearchRanking, SearchResult, TrainResult
from nas.run.spec import SearchSpec, Size, TrainSpec
from nas.settings import SearchSettings, TrainSettings, recipe_hash
from nas.skeleton import SKELETONS
from nas.space import CellSpace
from nas.space import load as load_space
from nas.train.fingerprint import fingerprint
from nas.train.loop import train
from nas.train.process_group import ProcessGroup


def search(
    settings: SearchSettings,
    *,
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    final_channels: int | None = None,
    final_cells: int | None = None,
    ops: Path | None = None,
    tensorboard: bool = False,
    name: str | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """The run of a cell search; with several seeds one search each, ranked by a short training on held-out images.

    Args:
        settings: of the search.
        preset: names the size of the network that the cell is meant for, where the ``final_…`` do not.
        seeds: several seeds; None: the settings' one.
        ops: a file of the user's own operations.
        tensorboard: write RUN/tensorboard too.
        name: of the run's folder, instead of one made of date, time, space and seed.
        runs: folder of run folders.

    Returns:
        the run, with genotype.json, cells.svg, architecture.json and result.json.

    Raises:
        UsageError: settings, space or data that cannot be used.
        Interrupted: on a signal, saved.
    """
    if tensorboard:
        board.check()
    file = plugins.register(ops) if ops else None
    space = load_space(settings.space)
    channels, cells = final_size(preset, space.skeleton)
    final = Size(final_channels or channels, final_cells or cells)
    spec = SearchSpec(
        settings=settings,
        execution=execution.resolved(),
        preset=preset,
        ops=file,
        seeds=check_seeds(seeds),
        tensorboard=tensorboard,
        final=final,
    )
    check_search(settings, space, final, execution)
    called = label("search", space.name, spec.seeds or [settings.seed])
    run = create(runs_root(runs), called, spec, {names.SPACE: space.to_toml()}, name)
    return carry_out(run, execution, continue_search)


def check_search(settings: SearchSettings, space: CellSpace, final: Size, execution: Execution) -> None:
    """Raises UsageError where the space cannot have so many cells, the data be used or the limits be kept."""
    check_workers(settings, execution)
    check_backend(execution)
    for cells in (*(stage.settings.cells for stage in stages(settings)), final.cells):
        SKELETONS[space.skeleton].check(cells)
    dataset = check_data(settings, execution)
    if settings.limits:
        check_limits(costs_of(space, final, dataset), settings.limits)


def check_workers(settings: SearchSettings, execution: Execution) -> None:
    """Raises UsageError where several workers cannot share the search."""
    workers = execution.workers or 1
    if settings.batch % workers:
        raise UsageError(f"--workers {workers}: a --batch of {settings.batch} cannot be divided evenly among them")
    ProcessGroup(settings.batch, world_size=workers)  # batch norms need two images in each
    if workers > 1 and settings.select == "perturbation":
        raise UsageError(
            f"--workers {workers} --select perturbation: its rounds are one worker's; search with --select strongest, "
            "then: nas derive RUN --select perturbation"
        )


def continue_search(run: Run, execution: Execution) -> None:
    """Does what is left of a search; a finished one is left as it is."""
    check_workers(run.spec(SearchSpec).settings, execution)
    continue_any(run, execution, SearchSpec, one=search_one, several=search_seeds, again=continue_search)


def search_one(run: Run, spec: SearchSpec, execution: Execution) -> None:
    """One search and its documents, which the first of several workers writes."""
    settings = spec.settings
    space, dataset = space_of(run, settings), check_data(settings, execution)
    costs = costs_of(space, spec.final, dataset) if settings.limits else None
    with board.watching(run, spec.tensorboard, SearchEpoch, partial(learning_rate, settings), list(space.ops)) as watch:
        supernet = search_cell(run, settings, space, execution, spec.preset, watch, costs)
    if not ProcessGroup.current(settings.batch).first:
        return
    try:
        genotype = select(run, spec, supernet, execution)
    except UsageError as error:
        raise UsageError(f"{error}; for another cell: {on(run, 'derive', run.path, '--select', 'strongest')}") from None
    write_cell(run, genotype, spec, dataset)
    cost = cost_of_cell(genotype, spec.final, dataset)
    log = run.log(SearchEpoch)
    result = SearchResult(
        valid_accuracy=log[-1].valid_accuracy,
        entropy=(log[0].entropy, log[-1].entropy),
        skip_share=skip_share(genotype),
        space=settings.space,
        seed=settings.seed,
        recipe=recipe_hash(settings),
        search_params=sum(weight.numel() for weight in supernet.weights),
        seconds=round(run.seconds, 1),
        hardware=hardware(),
        params=cost.params,
        madds=cost.madds,
        precision=settings.precision,
        fingerprint=fingerprint(settings, execution),
        alarms=alarms_of(run),
        chance=chance_of(spec, space, genotype, dataset),
    )
    run.finish(result)


def chance_of(spec: SearchSpec, space: CellSpace, genotype: Genotype, dataset: Dataset) -> Chance | None:
    """The cell among random ones at the search's size, if that is wanted."""
    settings = spec.settings
    size, ops = Size(settings.channels, settings.cells), spec.ops.sha256 if spec.ops else ""
    return against_chance(genotype, space, size, dataset, settings.chance, ops) if settings.chance else None


def search_seeds(run: Run, spec: SearchSpec, execution: Execution) -> None:
    """One search a seed, then a short training of each cell; the best one's cell becomes the parent's."""
    seeds = spec.seeds or ()
    children = [make_child(run, f"s{seed}", child_spec(spec, seed), names.SPACE, names.SPACE) for seed in seeds]
    continue_all(children, execution, continue_search)
    trainings = [ranking_of(run, child, execution) for child in children]
    continue_all(trainings, execution, continue_ranking)
    ranking = [rank(*each) for each in zip(seeds, children, trainings, strict=True)]
    ranking.sort(key=lambda entry: -entry.valid_accuracy)
    best = f"s{ranking[0].seed}"
    write_cell(run, read_genotype(Run(run.path / best)), spec, check_data(spec.settings, execution))
    run.finish(SearchRanking(ranking=tuple(ranking), best=best, space=spec.settings.space))


def ranking_of(run: Run, child: Run, execution: Execution) -> Run:
    """The short training that ranks a cell: at the search's own size, judged on held-out training images."""
    searched = child.spec(SearchSpec).settings
    images = len(check_data(searched, execution).train)
    shared = {name: getattr(searched, name) for name in ("data", "limit", "batch", "image_size", "precision")}
    changes = {"epochs": max(2, searched.epochs // 2), "validation": images // 5, "drop_path": 0.0}
    settings = resolve(TrainSettings, TRAIN_PRESETS, "quick", {**shared, **changes})
    spec = TrainSpec(command="rank", settings=settings, execution=execution.resolved(), preset="quick")
    architecture = read_architecture(child.path / names.ARCHITECTURE)
    small = architecture.changed(channels=searched.channels, cells=searched.cells, auxiliary=False)
    return run.child(f"rank-{child.path.name}", spec, {names.ARCHITECTURE: small.document()})


def continue_ranking(run: Run, execution: Execution) -> None:
    """Does what is left of a cell's short training; no test set is read."""
    if not run.finished:
        architecture = read_architecture(run.path / names.ARCHITECTURE)
        train(run, architecture, run.spec(TrainSpec).settings, execution, open_test=False)


def rank(seed: int, child: Run, training: Run) -> Rank:
    """A search's rank, by its cell's short training."""
    accuracy = training.result(TrainResult).valid_accuracy
    assert accuracy is not None
    return Rank(seed, accuracy, child.result(SearchResult).params)
