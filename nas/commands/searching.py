"""Searches: one a seed, ranked by short trainings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from nas import data
from nas.architecture import of_genotype, read_architecture
from nas.bilevel.loop import rate as search_rate
from nas.bilevel.loop import search as search_cells
from nas.cells.draw import draw
from nas.cells.genotype import read
from nas.commands.carry import child_of, finish_all, proceed
from nas.commands.told import check_data, described, label, tell
from nas.costs.count import count
from nas.execution import Execution
from nas.files import read_text
from nas.reports import tensorboard as board
from nas.run.folder import Run, create, hardware, runs_root
from nas.settings import SIZES, TRAIN_PRESETS, SearchSettings, TrainSettings, make, plain, recipe_hash, resolve
from nas.space import load as load_space
from nas.train.loop import train


@dataclass(frozen=True)
class Final:
    """Size of the network a search's cell is meant for; None: the preset's."""

    channels: int | None = None
    cells: int | None = None


def search(
    settings: SearchSettings,
    *,
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    final: Final = Final(),
    ops: Path | None = None,
    tensorboard: bool = False,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Searches a cell; with several seeds one search each, ranked by a short training on held-out images.

    Args:
        settings: of the search.
        preset: names the size of the network that the found cell is meant for, where ``final`` does not.
        seeds: several seeds; None: the settings' one.
        ops: a file of the user's own operations.
        tensorboard: write RUN/tensorboard too.
        runs: folder of run folders.

    Returns:
        the run, with genotype.json, cells.svg, architecture.json and result.json.

    Raises:
        UsageError: settings, space or data that cannot be used.
        Interrupted: on a signal, saved.
    """
    if tensorboard:
        board.check()
    size = {name: getattr(final, name) or SIZES[preset][name] for name in ("channels", "cells")}
    told = {**tell("search", settings, preset, seeds, ops, execution), "final": size, "tensorboard": tensorboard}
    space = load_space(settings.space)
    check_data(settings, execution)
    run = create(runs_root(runs), label("search", space.name, told), told)
    run.write("space.toml", space.to_toml())
    return proceed(run, execution)


def search_one(run: Run, execution: Execution) -> None:
    """One search and its documents."""
    settings = make(SearchSettings, run.told["settings"])
    space = replace(load_space(str(run.path / "space.toml")), name=settings.space)
    with board.watching(run, partial(search_rate, settings), list(space.ops)) as watch:
        supernet = search_cells(run, settings, space, execution, run.told["preset"], watch)
    log = run.log()
    write_cell(run, execution)
    result = {
        "valid_accuracy": log[-1]["valid_accuracy"],
        "entropy": [log[0]["entropy"], log[-1]["entropy"]],
        "skip_share": log[-1]["skip_share"],
        "space": settings.space,
        "seed": settings.seed,
        "recipe": recipe_hash(settings),
        "search_params": sum(weight.numel() for weight in supernet.weights),
        "seconds": round(sum(entry["seconds"] for entry in log), 1),
        "hardware": hardware(),
        **cell_costs(run),
    }
    run.write("result.json", result)


def search_seeds(run: Run, seeds: list[int], execution: Execution) -> None:
    """One search a seed, then a short training of each cell; the best one's cell becomes the parent's."""
    ranking = []
    for seed, child in zip(
        seeds, finish_all([child_of(run, seed, "space.toml") for seed in seeds], execution), strict=True
    ):
        ranking.append({"seed": seed, **rank(run, child, execution)})
    ranking.sort(key=lambda entry: -entry["valid_accuracy"])
    best = run.path / f"s{ranking[0]['seed']}"
    run.write("genotype.json", read_text(best / "genotype.json"))
    write_cell(run, execution)
    run.write("result.json", {"ranking": ranking, "best": best.name, "space": run.told["settings"]["space"]})


def rank(run: Run, child: Run, execution: Execution) -> dict[str, Any]:
    """A short training of a found cell at the search's own size, judged on held-out training images; no test set."""
    searched = make(SearchSettings, child.told["settings"])
    images = searched.limit or len(data.load(searched.data, root=execution.data_root).train)
    shared = {name: getattr(searched, name) for name in ("data", "limit", "batch", "image_size", "precision")}
    changes = {"epochs": max(2, searched.epochs // 2), "validation": images // 5, "drop_path": 0.0}
    settings = resolve(TrainSettings, TRAIN_PRESETS, "quick", {**shared, **changes})
    told = {"command": "rank", "settings": plain(settings), "execution": described(execution), "preset": "quick"}
    ranked = run.child(f"rank-{child.path.name}", told)
    if not ranked.finished:
        architecture = read_architecture(child.path / "architecture.json")
        small = architecture.changed(channels=searched.channels, cells=searched.cells, auxiliary=False)
        ranked.write("architecture.json", small.document())
        train(ranked, small, settings, execution, open_test=False)
    return {"valid_accuracy": ranked.result["valid_accuracy"], "params": child.result["params"]}


def write_cell(run: Run, execution: Execution) -> None:
    """cells.svg and architecture.json beside a genotype.json."""
    genotype = read(read_text(run.path / "genotype.json"), str(run.path / "genotype.json"))
    settings = make(SearchSettings, run.told["settings"])
    shape, classes = check_data(settings, execution)
    architecture = of_genotype(genotype, input=shape, classes=classes, **run.told["final"])
    draw(genotype, run.path / "cells.svg", "svg")
    run.write("architecture.json", architecture.document())


def cell_costs(run: Run) -> dict[str, int]:
    """Parameters and multiply-adds of the network a found cell is meant for."""
    architecture = read_architecture(run.path / "architecture.json")
    cost = count(architecture.build_meta(), architecture.input)
    return {"params": cost.params, "madds": cost.madds}
