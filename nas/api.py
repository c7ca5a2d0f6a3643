"""What the commands do, for use from Python: search, retrain, resume, load."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas import data, plugins
from nas.architecture import Architecture, from_json, of_genotype, read_architecture
from nas.cells.draw import draw
from nas.cells.genotype import Genotype, from_document, read
from nas.cells.search import search as search_cells
from nas.cost import count
from nas.data.batches import Augmentation
from nas.errors import UsageError
from nas.execution import Execution
from nas.files import read_json, read_text
from nas.run import Run, create, find, hardware, runs_root
from nas.settings import SIZES, TRAIN_PRESETS, SearchSettings, TrainSettings, make, plain, recipe_hash, resolve
from nas.space import load as load_space
from nas.train.evaluate import evaluate as evaluate_network
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
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Searches a cell; with several seeds one search each, ranked by a short training on held-out images.

    Args:
        settings: of the search.
        preset: names the size of the network that the found cell is meant for, where ``final`` does not.
        seeds: several seeds; None: the settings' one.
        ops: a file of the user's own operations.
        runs: folder of run folders.

    Returns:
        the run, with genotype.json, cells.svg, architecture.json and result.json.

    Raises:
        UsageError: settings, space or data that cannot be used.
        Interrupted: on a signal, saved.
    """
    size = {name: getattr(final, name) or SIZES[preset][name] for name in ("channels", "cells")}
    told = {**tell("search", settings, preset, seeds, ops, execution), "final": size}
    space = load_space(settings.space)
    check_data(settings, execution)
    run = create(runs_root(runs), label("search", space.name, told), told)
    run.write("space.toml", space.to_toml())
    return proceed(run, execution)


def retrain(
    architecture: Architecture,
    settings: TrainSettings,
    *,
    source: str = "",
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    ops: Path | None = None,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Trains a network from scratch; with several seeds one training each, with mean and deviation.

    Args:
        architecture: fitted to the data's image size and classes.
        settings: the recipe.
        source: where the architecture came from, for the record.

    Returns:
        the run, with architecture.json, weights.safetensors and result.json.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    told = {**tell("retrain", settings, preset, seeds, ops, execution), "source": source}
    shape, classes = check_data(settings, execution)
    fitted = architecture.fitted(shape, classes)
    if fitted.kind == "cell":
        fitted = fitted.changed(auxiliary=settings.auxiliary > 0)
    run = create(runs_root(runs), label("retrain", Path(settings.data).name, told), told)
    run.write("architecture.json", fitted.document())
    return proceed(run, execution)


def resume(run: Run, execution: Execution = Execution(), ops: Path | None = None) -> Run:  # noqa: B008 - frozen
    """Goes on with an interrupted run; a finished one is left as it is.

    Args:
        execution: where a field is empty, what the run was begun with.
    """
    begun = run.told["execution"]
    plugins.check(run.told.get("ops"), plugins.register(ops) if ops else None)
    return proceed(
        run,
        Execution(
            device=execution.device or begun["device"],
            threads=begun["threads"],
            data_root=execution.data_root or (Path(begun["data_root"]) if begun["data_root"] else None),
            cluster=execution.cluster,
            workers=execution.workers or begun.get("workers"),
            storage=begun.get("storage", ""),
        ),
    )


def load(path: str | Path) -> nn.Module:
    """The trained network of a run folder, in evaluation mode: images (N, 3, H, W), normalised → logits.

    Raises:
        UsageError: no weights there, or they do not fit.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(path)
    network = from_json(read_json(folder / "architecture.json"), str(folder / "architecture.json")).build()
    weights = folder / "weights.safetensors"
    if not weights.is_file():
        raise UsageError(f"{weights} is not there: has this training finished?")
    try:
        network.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise UsageError(f"{weights} does not fit: {str(error).splitlines()[0]}") from None
    return network.eval()


def architecture_of(target: str, runs: Path | None = None, preset: str = "paper") -> Architecture:
    """The architecture a user names: a run, a genotype file or an architecture file.

    A bare genotype gets the size of the preset.

    Raises:
        UsageError: none of these.
    """
    path = Path(target)
    if path.is_file():
        if '"nas/architecture/' in read_text(path):
            return read_architecture(path)
        return of_genotype(
            read(read_text(path), target), channels=SIZES[preset]["channels"], cells=SIZES[preset]["cells"]
        )
    run = find(target, runs_root(runs))
    if not (run.path / "architecture.json").is_file():
        raise UsageError(f"run {run.path} has no architecture.json yet: finish it with --resume {run.path}")
    return read_architecture(run.path / "architecture.json")


def proceed(run: Run, execution: Execution) -> Run:
    """Does what is left of a run: the same way whether it is new or was interrupted."""
    if run.finished or (execution.cluster and go_on_without_terminal(run, execution)):
        return run
    command, seeds = run.told["command"], run.told.get("seeds")
    if command == "search":
        search_seeds(run, seeds, execution) if seeds else search_one(run, execution)
    elif command == "retrain":
        retrain_seeds(run, seeds, execution) if seeds else retrain_one(run, execution)
    else:
        raise UsageError(f"run {run.path}: a {command} cannot be resumed")
    return run


def finish_all(children: Sequence[Run], execution: Execution) -> list[Run]:
    """Does what is left of independent runs: one after the other here, or side by side on a cluster."""
    if not execution.cluster:
        return [proceed(child, execution) for child in children]
    from nas.train import cluster

    cluster.finish(children, execution, proceed)
    return list(children)


def go_on_without_terminal(run: Run, execution: Execution) -> bool:
    """Whether the run was handed to the cluster as a job, which goes on when the terminal closes, and is done."""
    from nas.train import job

    return job.wanted(execution) and job.carry_out(run, execution)


def search_one(run: Run, execution: Execution) -> None:
    """One search and its documents."""
    settings = make(SearchSettings, run.told["settings"])
    space = replace(load_space(str(run.path / "space.toml")), name=settings.space)
    supernet = search_cells(run, settings, space, execution, run.told["preset"])
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


def child_of(run: Run, seed: int, document: str) -> Run:
    """The child run of one seed, with its copy of the document it works from."""
    told = {key: value for key, value in run.told.items() if key != "seeds"}
    child = run.child(f"s{seed}", {**told, "settings": {**told["settings"], "seed": seed}})
    child.write(document, read_text(run.path / document))
    return child


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


def retrain_one(run: Run, execution: Execution) -> None:
    """One training."""
    if execution.cluster:
        finish_all([run], execution)
        return
    settings = make(TrainSettings, run.told["settings"])
    architecture = read_architecture(run.path / "architecture.json")
    train(run, architecture, settings, execution, preset=run.told["preset"])


def retrain_seeds(run: Run, seeds: list[int], execution: Execution) -> None:
    """One training a seed; mean and deviation over them."""
    children = finish_all([child_of(run, seed, "architecture.json") for seed in seeds], execution)
    results = [child.result for child in children]
    accuracies = [result["test_accuracy"] for result in results]
    summary = {
        **{key: results[0][key] for key in ("params", "madds", "recipe", "hardware")},
        "seeds": seeds,
        "n": len(seeds),
        "test_accuracy": statistics.fmean(accuracies),
        "test_accuracy_deviation": statistics.stdev(accuracies) if len(seeds) > 1 else None,
        "deviation_is_over": "retraining seeds of one cell",
        "test_accuracies": accuracies,
        "seconds": round(sum(result["seconds"] for result in results), 1),
    }
    run.write("result.json", summary)


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


def check_data(settings: SearchSettings | TrainSettings, execution: Execution) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes; a mistake is found before a run folder is made.

    Raises:
        UsageError: data that cannot be used, or fewer images than the settings need.
    """
    dataset = data.load(settings.data, root=execution.data_root, image_size=settings.image_size)
    images = len(dataset.limited(settings.limit, settings.seed).train)
    held_out = images // 2 if isinstance(settings, SearchSettings) else settings.validation
    if settings.batch > images - held_out:
        raise UsageError(
            f"--batch {settings.batch} is larger than the {max(0, images - held_out)} images left to train on"
        )
    return dataset.shape, len(dataset.classes)


def tell(
    command: str,
    settings: SearchSettings | TrainSettings,
    preset: str,
    seeds: Sequence[int] | None,
    ops: Path | None,
    execution: Execution,
) -> dict[str, Any]:
    """What settings.json remembers of a command.

    Raises:
        UsageError: seeds, device, threads or a file of operations that cannot be used.
    """
    told: dict[str, Any] = {"command": command, "settings": plain(settings), "execution": described(execution)}
    told |= {"preset": preset, "ops": plugins.register(ops) if ops else None}
    if seeds is None:
        return told
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {','.join(map(str, seeds))}: name at least one, each once")
    return {**told, "seeds": list(seeds)}


def described(execution: Execution) -> dict[str, Any]:
    """How a run is executed: the actual device and threads; on a cluster those asked for, one thread by default."""
    root = str(execution.data_root.resolve()) if execution.data_root else None
    if execution.cluster:
        asked = {"workers": execution.workers, "storage": execution.storage}
        return {"device": execution.device, "threads": execution.threads or 1, "data_root": root, **asked}
    device = execution.start()
    return {"device": device, "threads": torch.get_num_threads(), "data_root": root}


def label(command: str, subject: str, told: dict[str, Any]) -> str:
    """The name of a run's folder after its time: search-darts-s0."""
    seeds = told.get("seeds") or [told["settings"]["seed"]]
    return f"{command}-{subject}-s{'_'.join(map(str, seeds))}"


def genotype_of(target: str, runs: Path | None = None) -> Genotype:
    """The cell a user names: a genotype file, or a run that has found or retrained one.

    Raises:
        UsageError: none of these.
    """
    path = Path(target)
    if not path.is_file():
        run = find(target, runs_root(runs))
        log = run.log()
        if (run.path / "genotype.json").is_file():
            path = run.path / "genotype.json"
        elif (run.path / "architecture.json").is_file():
            path = run.path / "architecture.json"
        elif log and "genotype" in log[-1]:
            return from_document(log[-1]["genotype"], f"{run.path}/log.jsonl")
        else:
            raise UsageError(f"run {run.path} has found no cell yet")
    text = read_text(path)
    if '"nas/architecture/' in text:
        genotype = read_architecture(path).genotype
        if genotype is None:
            raise UsageError(f"{path} is a macro network: it has no cell to show")
        return genotype
    return read(text, str(path))


def evaluate(run: Run, execution: Execution) -> dict[str, Any]:
    """Tests a trained network again, and counts it.

    Returns:
        test_accuracy now, stored_accuracy of the end of training, test_openings so far.

    Raises:
        UsageError: the run is not a finished training.
    """
    if not run.finished or run.told["command"] != "retrain" or "seeds" in run.told:
        raise UsageError(f"run {run.path} is not one finished training: nas evaluate takes what nas retrain has made")
    device = execution.start()
    settings = make(TrainSettings, run.told["settings"])
    root = execution.data_root or run.told["execution"]["data_root"]
    dataset = data.load(settings.data, root=Path(root) if root else None, image_size=settings.image_size, device=device)
    network = load(run.path).to(device).to(memory_format=torch.channels_last)
    augmentation = Augmentation.of(dataset, cutout=False, device=device)
    _, accuracy = evaluate_network(network, dataset.test, augmentation)
    result = {**run.result, "test_openings": run.result["test_openings"] + 1}
    run.write("result.json", result)
    return {
        "test_accuracy": accuracy,
        "stored_accuracy": result["test_accuracy"],
        "test_openings": result["test_openings"],
    }
