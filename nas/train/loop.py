"""The one training loop, for networks of either branch."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from nas import data
from nas.architecture import Architecture
from nas.blocks.drop_path import set_paths
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Dataset
from nas.execution import Execution
from nas.rng import generator
from nas.run.folder import Run, hardware
from nas.settings import TrainSettings, recipe_hash
from nas.train.evaluate import correct, evaluate
from nas.train.parallel import Team
from nas.train.preflight import announce, measure
from nas.train.recipe import follow, make_average, make_optimizer
from nas.train.schedule import learning_rate, set_rate
from nas.train.session import Session, Stateful, Watch
from nas.train.start import build, freeze, train_mode
from nas.train.step import draw_masks, learn


def train(
    run: Run,
    architecture: Architecture,
    settings: TrainSettings,
    execution: Execution,
    *,
    preset: str = "",
    open_test: bool = True,
    watch: Watch | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Trains, or goes on training, in a run folder; reads the test set once, at the end, and writes result.json.

    Args:
        open_test: False where cells are only compared, on held-out training images.
        watch, quiet: as of :class:`Session`.

    Returns:
        the result: accuracies (fractions), params, madds, seed, recipe, hardware; of several workers only the first's.

    Raises:
        UsageError: data, network or settings that cannot be used.
        Interrupted: on a signal, saved.
    """
    device = execution.start()
    dataset = load_data(settings, execution, device)
    images, valid = dataset.divided(settings.validation, settings.seed)
    team = Team.present(settings.batch, settings.accumulate)
    quiet = quiet or not team.first
    resized, jitter = settings.crop == "resized", settings.jitter
    augmentation = Augmentation.of(dataset, cutout=settings.cutout, device=device, resized=resized, jitter=jitter)
    stream = Stream(images, augmentation, settings.batch, settings.seed, places=team.places)
    network = build(run, architecture, settings).to(device).to(memory_format=torch.channels_last)
    frozen = freeze(network, settings.freeze)
    optimizer, average = make_optimizer(network, settings), make_average(network, settings)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer}
    if average is not None:
        parts["average"] = average
    title = f"train {run.told.get('title') or f's{settings.seed}'}"
    shown: dict[str, Any] = {"title": title, "watch": watch, "quiet": quiet, "writes": team.first, "agree": team.any}
    session = Session(run, parts, epochs=settings.epochs, steps=stream.steps, **shown)
    if session.epoch < settings.epochs and not quiet:
        estimate = measure(trial_step(network, settings, dataset, device), settings.batch // team.size, device)
        announce(estimate, epochs=settings.epochs, steps=stream.steps, device=device, preset=preset)
    tested = network if average is None else average.module
    spread = team.spread(network)
    with session:
        for epoch in session.epochs():
            train_mode(network, frozen)
            for step in session.steps():
                set_rate(optimizer, learning_rate(settings, epoch, session.done / stream.steps))
                masks = draw_masks(network, settings, epoch, step, team.places)
                batch = stream.at(step)
                loss, logits = learn(spread, optimizer, batch, settings, device, masks, team)
                if average is not None:
                    follow(average, network, settings.ema, step)
                session.add(**team.sum(loss=loss, correct=correct(logits, batch[1])))
            set_paths(network, None)
            end_epoch(session, evaluate(tested, valid, augmentation) if len(valid) else None, settings.batch)
    if not team.first:
        return {}
    test = evaluate(tested, dataset.test, augmentation) if open_test else None
    return finish(run, tested, architecture, settings, test)


def load_data(settings: TrainSettings, execution: Execution, device: str) -> Dataset:
    """The images, with so many of the training ones as the settings say."""
    root, size = execution.data_root, settings.image_size
    dataset = data.load(settings.data, root=root, image_size=size, device=device)
    return dataset.limited(settings.limit, settings.seed)


def trial_step(network: nn.Module, settings: TrainSettings, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the network and random images: it changes nothing."""
    copied = copy.deepcopy(network).train()
    optimizer = make_optimizer(copied, settings)

    def step(images: int) -> None:
        stream = generator(0, "extra")
        labels = torch.randint(len(dataset.classes), (images,), generator=stream).to(device)
        batch = (torch.randn(images, *dataset.shape, generator=stream).to(device), labels)
        learn(copied, optimizer, batch, settings, device)

    return step


def end_epoch(session: Session, valid: tuple[float, float] | None, batch: int) -> None:
    """Logs losses and accuracies."""
    sums, images = session.sums(), session.per_epoch * batch
    values = {"train_loss": sums["loss"] / session.per_epoch, "train_accuracy": sums["correct"] / images}
    values |= {"valid_loss": valid[0], "valid_accuracy": valid[1]} if valid else {}
    line = f"train {values['train_accuracy']:.1%}" + (f"  valid {valid[1]:.1%}" if valid else "")
    session.end_epoch(values, line)


def finish(
    run: Run, network: nn.Module, architecture: Architecture, settings: TrainSettings, test: tuple[float, float] | None
) -> dict[str, Any]:
    """Writes weights.safetensors and result.json."""
    from safetensors.torch import save

    from nas.costs.count import count

    tensors = {name: value.contiguous().cpu() for name, value in network.state_dict().items()}
    run.write("weights.safetensors", save(tensors))
    log, last = run.log(), run.log()[-1]
    cost = count(architecture.build_meta(), architecture.input)
    result = {
        "test_accuracy": test[1] if test else None,
        "test_loss": test[0] if test else None,
        "valid_accuracy": last.get("valid_accuracy"),
        "params": cost.params,
        "madds": cost.madds,
        "seed": settings.seed,
        "recipe": recipe_hash(settings),
        "seconds": round(sum(entry["seconds"] for entry in log), 1),
        "hardware": hardware(),
        "test_openings": 1 if test else 0,
        **({"init": run.told["init"]} if run.told.get("init") else {}),
    }
    run.write("result.json", result)
    return result
