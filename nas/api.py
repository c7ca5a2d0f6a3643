"""What the commands do, for use from Python: search, retrain, resume, load."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas import data, live, plugins
from nas import tensorboard as board
from nas.architecture import Architecture, from_json, of_genotype, read_architecture
from nas.backbone import Backbone, backbone
from nas.cells.draw import draw
from nas.cells.genotype import Genotype, from_document, read
from nas.cells.search import rate as search_rate
from nas.cells.search import search as search_cells
from nas.comparison import combine, summarise
from nas.cost import count
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset
from nas.errors import Interrupted, UsageError, nearest
from nas.execution import Execution
from nas.extras import need
from nas.files import read_json, read_text
from nas.run import Run, create, find, hardware, runs_root
from nas.settings import (
    SIZES,
    TRAIN_PRESETS,
    SearchSettings,
    TrainSettings,
    TuneSettings,
    make,
    plain,
    recipe_hash,
    resolve,
)
from nas.space import load as load_space
from nas.train.evaluate import evaluate as evaluate_network
from nas.train.loop import train
from nas.train.schedule import learning_rate
from nas.train.start import WEIGHTS, fitting, freeze, read_weights


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


@dataclass(frozen=True)
class Candidate:
    """A network to train, and where it came from, for the record."""

    architecture: Architecture
    source: str = ""


def retrain(
    architecture: Architecture | Sequence[Candidate],
    settings: TrainSettings,
    *,
    source: str = "",
    preset: str = "paper",
    seeds: Sequence[int] | None = None,
    init: Run | None = None,
    ops: Path | None = None,
    tensorboard: bool = False,
    runs: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Run:
    """Trains a network; several networks or seeds one by one, with means, intervals and differences.

    Args:
        architecture: one network, or several with their sources; they are fitted to the data's image size and classes.
        settings: the recipe.
        source: where the one network came from, for the record.
        init: a finished training whose weights to start from; on other data with a new classifier.

    Returns:
        the run, with architecture.json, weights.safetensors and result.json; with several seeds or networks a parent
        run with a child for each training.

    Raises:
        UsageError, Interrupted: as :func:`search`.
    """
    if tensorboard:
        board.check()
    several = [Candidate(architecture, source)] if isinstance(architecture, Architecture) else list(architecture)
    if not several:
        raise UsageError("there is no network to train")
    told = {**tell("retrain", settings, preset, seeds, ops, execution), "tensorboard": tensorboard}
    shape, classes = check_data(settings, execution)
    networks = [fitted(candidate.architecture, shape, classes, settings) for candidate in several]
    weights = initial(init, networks, settings)
    if len(several) == 1:
        told |= {"source": several[0].source}
    else:
        named = [{"name": f"c{number}", "source": each.source} for number, each in enumerate(several, start=1)]
        told |= {"networks": named, "seeds": told.get("seeds") or [settings.seed]}
    if weights is not None and init is not None:
        told |= {"init": {"run": str(init.path), "sha256": hashlib.sha256(weights).hexdigest()}}
    run = create(runs_root(runs), label("retrain", Path(settings.data).name, told), told)
    for name, network in zip(document_names(told), networks, strict=True):
        run.write(name, network.document())
    if weights is not None:
        run.write(WEIGHTS, weights)
    return proceed(run, execution)


def initial(init: Run | None, networks: Sequence[Architecture], settings: TrainSettings) -> bytes | None:
    """The weights of a finished training that these networks start from, as a safetensors file.

    The classifiers are left out where the data is not the same.

    Raises:
        UsageError: they do not fit, or ``settings.freeze`` without any.
    """
    from safetensors.torch import save

    if init is None:
        if settings.freeze:
            raise UsageError(f"--freeze {settings.freeze} needs --init RUN: there is nothing learnt to keep")
        return None
    weights = read_weights(init.path / "weights.safetensors")
    before = read_architecture(init.path / "architecture.json")
    known = init.told["settings"].get("data") == settings.data
    for network in networks:
        new_head = not known or network.classes != before.classes
        weights = fitting(weights, network, new_head=new_head, where=str(init.path))
        freeze(network.build_meta(), settings.freeze)
    return save(weights)


def fitted(
    architecture: Architecture, shape: tuple[int, int, int], classes: int, settings: TrainSettings
) -> Architecture:
    """The network for these images and classes, with the auxiliary head the recipe asks for."""
    changed = architecture.fitted(shape, classes)
    return changed.changed(auxiliary=settings.auxiliary > 0) if changed.kind == "cell" else changed


def document_names(told: Mapping[str, Any]) -> list[str]:
    """The files of a retraining's networks, in their order."""
    several = told.get("networks")
    return [f"architecture-{network['name']}.json" for network in several] if several else ["architecture.json"]


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
        engine: the fields of :class:`nas.tune.tuner.Engine`.

    Returns:
        the run, with study.db, trials.csv, pareto.json, front.png, winners/ and result.json.

    Raises:
        UsageError, Interrupted: as :func:`search`; a budget that cannot be reached.
    """
    from nas.macro.space import load as load_macro
    from nas.tune import budget, subject, tuner

    if not settings.validation:
        images = settings.limit or len(data.load(settings.data, root=execution.data_root).train)
        settings = replace(settings, validation=images // 5)
    image, classes = check_data(settings, execution)
    freedom = subject.Freedom(dict(fixed or {}), only, tuning.mode == "fill")
    subjects: list[subject.Subject] = [subject.of_space(load_macro(space), freedom) for space in dict.fromkeys(spaces)]
    if genotype:
        found = architecture_of(genotype, runs).fitted(image, classes)
        subjects.append(subject.of_cell(Path(genotype).stem, found, freedom))
        seeds = [settings.seed] if seeds is None else seeds
    limits = sorted({budget.parse(text) for text in budgets})
    counting = budget.Counting(image, classes, tuning.budget_resolution)
    tuner.check([budget.Budgets(one, counting, freedom.filling) for one in subjects], limits, tuning)
    chosen = tuner.Engine(**engine or {})
    chosen.check()
    told = {**tell("tune", settings, "", seeds, None, execution), "seeds": list(seeds or []), "tune": plain(tuning)}
    told |= {"subjects": [one.document() for one in subjects], "budgets": limits, "image": image, "classes": classes}
    name = f"tune-{'+'.join(one.name for one in subjects)}-s{settings.seed}"
    run = create(runs_root(runs), name, {**told, "engine": asdict(chosen)})
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
    """The trained network of a run or exported folder, in evaluation mode: images (N, 3, H, W), normalised → logits.

    Raises:
        UsageError: no weights there, or they do not fit.
    """
    return load_both(path)[1]


def features(
    path: str | Path,
    levels: Sequence[str] | Mapping[str, str] | None = None,
    output_stride: int | None = None,
) -> Backbone:
    """The trained network of a run or exported folder as a backbone: images, normalised → {level: feature map}.

    Its ``channels`` and ``strides`` list the levels'. See :func:`nas.backbone.backbone`.

    Args:
        levels: names such as ``["C4.expansion", "C5"]``, or {name: what to call it}; None: all but expansions.
        output_stride: largest stride, by dilation.

    Raises:
        UsageError: as :func:`load`; an unknown level; a stride that dilation cannot take out.
    """
    return backbone(*load_both(path), levels, output_stride)


def load_both(path: str | Path) -> tuple[Architecture, nn.Module]:
    """The architecture and the trained network of a folder; see :func:`load`."""
    folder = Path(path)
    architecture = from_json(read_json(folder / "architecture.json"), str(folder / "architecture.json"))
    network = architecture.build()
    try:
        network.load_state_dict(read_weights(folder / "weights.safetensors"))
    except RuntimeError as error:
        raise UsageError(f"{folder / 'weights.safetensors'} does not fit: {str(error).splitlines()[0]}") from None
    return architecture, network.eval()


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


def candidates(
    targets: Sequence[str], runs: Path | None = None, preset: str = "paper", best: int | None = None
) -> list[Candidate]:
    """The networks a user names, each as :func:`architecture_of`.

    Args:
        best: instead of each search's own cell, the K best of its ranking (searches of several seeds have one).

    Raises:
        UsageError: a target that is no network, that is named twice, or that has no ranking, or one that is too short.
    """
    if twice := [target for target in targets if targets.count(target) > 1]:
        raise UsageError(f"{twice[0]} is named twice")
    sources = [source for target in targets for source in ([target] if best is None else ranked(target, best, runs))]
    return [Candidate(architecture_of(source, runs, preset), source) for source in sources]


def ranked(target: str, best: int, runs: Path | None) -> list[str]:
    """The paths of the K best searches of a run of several seeds."""
    run = None if Path(target).is_file() else find(target, runs_root(runs))
    ranking = run.result.get("ranking", []) if run and run.finished else []
    if run is None or not 1 <= best <= len(ranking):
        counted = f"ranks {len(ranking)} cells" if ranking else "has no ranking: it is no finished search with --seeds"
        raise UsageError(f"--best {best}: {target} {counted}")
    return [str(run.path / f"s{entry['seed']}") for entry in ranking[:best]]


def proceed(run: Run, execution: Execution) -> Run:
    """Does what is left of a run: the same way whether it is new or was interrupted."""
    if run.finished or (execution.cluster and go_on_without_terminal(run, execution)):
        return run
    command, seeds = run.told["command"], run.told.get("seeds")
    if command not in ("search", "retrain", "tune"):
        raise UsageError(f"run {run.path}: a {command} cannot be resumed")
    try:
        if command == "search":
            search_seeds(run, seeds, execution) if seeds else search_one(run, execution)
        elif command == "tune":
            from nas.tune.tuner import proceed as proceed_tuning

            proceed_tuning(run, described(execution))
        else:
            retrain_seeds(run, seeds, execution) if seeds else retrain_one(run, execution)
    except Interrupted as stopped:  # a child's advice gives way to its parent's
        raise Interrupted(stopped.signal, f"saved; go on with --resume {run.path}") from None
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


def child_of(run: Run, seed: int, document: str, *, name: str = "", original: str = "", **told: Any) -> Run:
    """The child run of one seed, with its copy of the document it works from.

    Args:
        name: of the child; empty: s<seed>.
        original: the parent's file of which ``document`` is the copy, where their names differ.
        told: what the child is told beside what its parent was.
    """
    inherited = {key: value for key, value in run.told.items() if key not in ("seeds", "networks")}
    settings = {**inherited["settings"], "seed": seed}
    child = run.child(name or f"s{seed}", {**inherited, "settings": settings, **told})
    child.write(document, read_text(run.path / (original or document)))
    if (run.path / WEIGHTS).is_file():
        child.write(WEIGHTS, (run.path / WEIGHTS).read_bytes())
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
    with board.watching(run, partial(learning_rate, settings, part=0.0)) as watch:
        train(
            run,
            architecture,
            settings,
            execution,
            preset=run.told["preset"],
            watch=watch,
            quiet=live.shown.get(),
        )


def retrain_seeds(run: Run, seeds: list[int], execution: Execution) -> None:
    """One training a network and seed; means, intervals and differences over them."""
    networks = run.told.get("networks") or [{"name": "c1", "source": run.told["source"]}]
    children = [
        child_of(run, seed, "architecture.json", name=name, original=document, source=network["source"], title=name)
        for network, document in zip(networks, document_names(run.told), strict=True)
        for seed in seeds
        for name in [f"{network['name']}-s{seed}" if len(networks) > 1 else f"s{seed}"]
    ]
    with live.watching(children):
        results = [child.result for child in finish_all(children, execution)]
    size = len(seeds)
    groups = [results[start : start + size] for start in range(0, len(results), size)]
    summaries = [{**network, **summarise(group)} for network, group in zip(networks, groups, strict=True)]
    alone = summaries[0] if len(summaries) == 1 else {}
    run.write("result.json", {**alone, **combine(summaries)})


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
    device = execution.start()
    _, dataset = trained_on(run, execution, device)
    network = load(run.path).to(device).to(memory_format=torch.channels_last)
    augmentation = Augmentation.of(dataset, cutout=False, device=device)
    _, accuracy = evaluate_network(network, dataset.test, augmentation)
    return {
        "test_accuracy": accuracy,
        "stored_accuracy": run.result["test_accuracy"],
        "test_openings": count_opening(run),
    }


def export(
    run: Run, to: str, execution: Execution, *, out: Path | None = None, ops: Path | None = None
) -> dict[str, Any]:
    """Writes a trained network in a form that runs elsewhere; nothing is written that fails its check.

    Args:
        to: a name in ``nas.export.FORMS``.
        out: file or folder to write; None: inside the run folder.
        ops: the file of the user's own operations, if the cell has any.

    Returns:
        "file", "bytes" and what was checked or measured.

    Raises:
        UsageError: the run is not a finished training, its weights are damaged, a package is missing, a failed check.
    """
    from nas.export import FORMS, Trained

    if to not in FORMS:
        raise UsageError(f'--to "{to}": {nearest(to, list(FORMS))}')
    form = FORMS[to]
    need(f"--to {to}", "export", *form.packages)
    out = out or run.path / form.name
    if not out.parent.is_dir():
        raise UsageError(f"--out {out}: there is no folder {out.parent}")
    execution.start()
    settings, dataset = trained_on(run, execution, "cpu")
    plugins.check(run.told.get("ops"), plugins.register(ops) if ops else None)
    if ops and to == "torch":
        raise UsageError(f"--to torch: a folder cannot hold the operations of {ops}, only their names")
    result = form.write(Trained(run.path, load(run.path), dataset, settings.seed), out)
    return {**result, "test_openings": count_opening(run)} if form.reads_test else result


def trained_on(run: Run, execution: Execution, device: str) -> tuple[TrainSettings, Dataset]:
    """Settings and data of a finished training.

    Raises:
        UsageError: the run is none.
    """
    if not run.finished or run.told["command"] != "retrain" or "seeds" in run.told:
        raise UsageError(f"run {run.path} is not one finished training, as nas retrain makes (several seeds: name one)")
    settings = make(TrainSettings, run.told["settings"])
    root = execution.data_root or run.told["execution"]["data_root"]
    path = Path(root) if root else None
    return settings, data.load(settings.data, root=path, image_size=settings.image_size, device=device)


def count_opening(run: Run) -> int:
    """Counts that the test set was read again; how often it has been."""
    openings = int(run.result["test_openings"]) + 1
    run.write("result.json", {**run.result, "test_openings": openings})
    return openings
