"""The search loop: alphas on one half of the training images, weights on the other."""

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas import data
from nas.bilevel.gradients import Batch, Learner, Loss
from nas.bilevel.recorded import Stepper
from nas.cells.genotype import Genotype
from nas.cells.partial import PartialFanOut
from nas.cells.sampled import SampledSupernet, draw_paths
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Dataset
from nas.engine.merged import MergedFanOut
from nas.execution import Execution, mixed
from nas.rng import generator
from nas.run.folder import Run
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train.evaluate import evaluate
from nas.train.preflight import announce, measure
from nas.train.schedule import cosine, set_rate
from nas.train.session import Session, Stateful, Watch

ENGINES: dict[str, FanOut] = {"merged": MergedFanOut, "reference": MixedFanOut}
"""Two ways to compute the same supernet from the same parameters: a checkpoint of one loads into the other."""


def search(
    run: Run,
    settings: SearchSettings,
    space: CellSpace,
    execution: Execution,
    preset: str = "",
    watch: Watch | None = None,
) -> Supernet:
    """Searches, or goes on searching, in a run folder: log.jsonl, checkpoints, and at the end genotype.json.

    Args:
        watch: told of each epoch.

    Returns:
        the supernet after its last epoch.

    Raises:
        UsageError: data or settings that cannot be used.
        Interrupted: on a signal, saved.
    """
    device = execution.start()
    dataset = load_data(settings, execution, device)
    train, valid = dataset.divided(len(dataset.train) // 2, settings.seed)
    augmentation = Augmentation.of(dataset, cutout=settings.cutout, device=device)
    weights_stream = Stream(train, augmentation, settings.batch, settings.seed)
    alphas_stream = Stream(valid, augmentation, settings.batch, settings.seed, "alpha-order", "alpha-augment")
    supernet = build(settings, space, len(dataset.classes)).to(device).to(memory_format=torch.channels_last)
    learner = make_learner(supernet, settings, device)
    parts: dict[str, Stateful] = {
        "supernet": supernet,
        "weights": learner.weight_optimizer,
        "alphas": learner.alpha_optimizer,
    }
    title = f"search {space.name} s{settings.seed}"
    session = Session(run, parts, epochs=settings.epochs, steps=weights_stream.steps, title=title, watch=watch)
    if session.epoch < settings.epochs:
        estimate = measure(trial_step(supernet, settings, dataset, device), settings.batch, device)
        announce(estimate, epochs=settings.epochs, steps=weights_stream.steps, device=device, preset=preset)
    stepper = Stepper(supernet, learner, weights_stream, alphas_stream)
    with session:
        for epoch in session.epochs():
            set_rate(learner.weight_optimizer, rate(settings, epoch))
            supernet.train()
            for step in session.steps():
                draw = partial(draw_paths, supernet, settings, epoch, step)
                loss, right = stepper.step(step, alphas=epoch >= settings.alphas_from, draw=draw)
                session.add(loss=loss, correct=right)
            end_epoch(session, supernet, evaluate(supernet, valid, augmentation), settings.batch)
    run.write("genotype.json", supernet.genotype().document())
    return supernet


def rate(settings: SearchSettings, epoch: int) -> float:
    """The weights' learning rate in an epoch."""
    return cosine(epoch / settings.epochs, settings.lr, settings.lr_min)


def load_data(settings: SearchSettings, execution: Execution, device: str) -> Dataset:
    """The training images of a search, limited (and, as a control, with shuffled labels)."""
    root, size = execution.data_root, settings.image_size
    dataset = data.load(settings.data, root=root, image_size=size, device=device).limited(settings.limit, settings.seed)
    return dataset.shuffled(settings.seed) if settings.shuffle_labels else dataset


def build(settings: SearchSettings, space: CellSpace, classes: int) -> Supernet:
    """A supernet with the weights and alphas that belong to the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(settings.seed, "init").initial_seed())
        sizes: dict[str, Any] = {"channels": settings.channels, "cells": settings.cells, "classes": classes}
        sizes["recompute"] = settings.recompute
        if settings.sampler == "gdas":
            return SampledSupernet(space, **sizes)
        fan_out = ENGINES[settings.engine]
        if settings.partial > 1:
            fan_out = partial(PartialFanOut, fan_out, settings.partial)
        return Supernet(space, fan_out=fan_out, edge_weights=settings.partial > 1, **sizes)


def make_learner(supernet: Supernet, settings: SearchSettings, device: str) -> Learner:
    """The supernet's bilevel learner, in the precision of the settings."""
    return Learner(supernet.weights, supernet.architecture, loss_of(supernet, settings, device), settings)


def loss_of(supernet: Supernet, settings: SearchSettings, device: str) -> Loss:
    """Batch → (mean cross-entropy, logits)."""

    def loss(batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = batch
        with mixed(settings.precision, device):
            logits = supernet(images)
        return F.cross_entropy(logits.float(), labels), logits

    return loss


def trial_step(supernet: Supernet, settings: SearchSettings, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the supernet and random images: it changes nothing."""
    copied = copy.deepcopy(supernet)
    learner = make_learner(copied, settings, device)

    def step(images: int) -> None:
        stream = generator(0, "extra")
        labels = torch.randint(len(dataset.classes), (images,), generator=stream).to(device)
        batch = (torch.randn(images, *dataset.shape, generator=stream).to(device), labels)
        learner.step_alphas(batch, batch)
        learner.step_weights(batch)

    return step


def end_epoch(session: Session, supernet: Supernet, valid: tuple[float, float], batch: int) -> None:
    """Logs losses, accuracies, alphas, their entropy, the genotype so far and its share of skips."""
    sums, images = session.sums(), session.per_epoch * batch
    genotype = supernet.genotype()
    entropy = alpha_entropy(supernet)
    values: dict[str, Any] = {
        "train_loss": sums["loss"] / session.per_epoch,
        "train_accuracy": sums["correct"] / images,
        "valid_loss": valid[0],
        "valid_accuracy": valid[1],
        "alphas": {kind: alpha.tolist() for kind, alpha in supernet.alphas.items()},
        **({"betas": {kind: beta.tolist() for kind, beta in supernet.betas.items()}} if supernet.betas else {}),
        "entropy": entropy,
        "skip_share": skip_share(genotype),
        "genotype": genotype.document(),
    }
    line = f"train {values['train_accuracy']:.1%}  valid {valid[1]:.1%}  entropy {entropy:.3f}"
    session.end_epoch(values, f"{line}  skips {values['skip_share']:.0%}")


@torch.no_grad()
def alpha_entropy(supernet: Supernet) -> float:
    """Entropy in nats of the softmax of an edge's alphas, mean over all edges; ln(operations) at the start."""
    weights = torch.cat([alpha.softmax(dim=-1) for alpha in supernet.alphas.values()]).double()
    return float(-(weights * weights.clamp_min(1e-30).log()).sum(-1).mean())


def skip_share(genotype: Genotype) -> float:
    """Share of the chosen edges that are skip connections: the sign of a collapsing search."""
    names = [name for cell in genotype.cells.values() for pairs in cell.nodes for name, _ in pairs]
    return names.count("skip_connect") / len(names)
