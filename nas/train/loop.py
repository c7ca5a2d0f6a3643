"""The one training loop, for networks of either branch."""

import copy
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import data
from nas.architecture import Architecture
from nas.blocks.drop_path import draw_paths, set_paths
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Dataset
from nas.execution import Execution, mixed, wide
from nas.preflight import announce, measure
from nas.rng import generator
from nas.run import Run, hardware
from nas.settings import TrainSettings, recipe_hash
from nas.train.evaluate import correct, evaluate
from nas.train.parallel import Team
from nas.train.schedule import learning_rate, set_rate, sgd
from nas.train.session import Session, Stateful, Watch


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
    augmentation = Augmentation.of(dataset, cutout=settings.cutout, device=device)
    team = Team.present(settings.batch)
    quiet = quiet or not team.first
    stream = Stream(images, augmentation, settings.batch, settings.seed, part=team.part)
    network = build(architecture, settings).to(device).to(memory_format=torch.channels_last)
    optimizer = sgd(network.parameters(), settings, nesterov=settings.nesterov)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer}
    shown: dict[str, Any] = {"title": f"train s{settings.seed}", "watch": watch, "quiet": quiet}
    session = Session(run, parts, epochs=settings.epochs, steps=stream.steps, writes=team.first, **shown)
    if session.epoch < settings.epochs and not quiet:
        estimate = measure(trial_step(network, settings, dataset, device), settings.batch // team.size, device)
        announce(estimate, epochs=settings.epochs, steps=stream.steps, device=device, preset=preset)
    spread = team.spread(network)
    with session:
        for epoch in session.epochs():
            network.train()
            for step in session.steps():
                set_rate(optimizer, learning_rate(settings, epoch, session.done / stream.steps))
                drop_paths(network, settings, epoch, step, team.part)
                batch = stream.at(step)
                loss, logits = learn(spread, optimizer, batch, settings, device, team.scale)
                session.add(**team.sum(loss=loss * team.scale / team.size, correct=correct(logits, batch[1])))
            set_paths(network, None)
            end_epoch(session, evaluate(network, valid, augmentation) if len(valid) else None, settings.batch)
    if not team.first:
        return {}
    test = evaluate(network, dataset.test, augmentation) if open_test else None
    return finish(run, network, architecture, settings, test)


def load_data(settings: TrainSettings, execution: Execution, device: str) -> Dataset:
    """The images, with so many of the training ones as the settings say."""
    root, size = execution.data_root, settings.image_size
    dataset = data.load(settings.data, root=root, image_size=size, device=device)
    return dataset.limited(settings.limit, settings.seed)


def build(architecture: Architecture, settings: TrainSettings) -> nn.Module:
    """The network with the weights that belong to the seed."""
    with torch.random.fork_rng():
        torch.manual_seed(generator(settings.seed, "init").initial_seed())
        return architecture.build()


def learn(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor, Tensor],
    settings: TrainSettings,
    device: str,
    scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """One step: (loss without the auxiliary head's, logits). ``scale`` is the loss's, as of :class:`Team`."""
    images, labels = batch
    with mixed(settings.precision, device):
        out = network(images)
    logits, auxiliary = out if isinstance(out, tuple) else (out, None)
    loss = F.cross_entropy(wide(logits), labels, label_smoothing=settings.label_smoothing)
    total = loss
    if auxiliary is not None:
        beside = F.cross_entropy(wide(auxiliary), labels, label_smoothing=settings.label_smoothing)
        total = loss + settings.auxiliary * beside
    optimizer.zero_grad()
    (total * scale).backward()
    nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    optimizer.step()
    return loss.detach(), logits.detach()


def drop_paths(network: nn.Module, settings: TrainSettings, epoch: int, step: int, part: slice) -> None:
    """Draws what this step drops in a part of its batch: paths (more often each epoch), and a dropout layer's seed."""
    torch.manual_seed(generator(settings.seed, "extra", step).initial_seed())
    if settings.drop_path:
        probability = settings.drop_path * epoch / settings.epochs
        stream = generator(settings.seed, "paths", step)
        masks = draw_paths(network, probability, settings.batch, stream)
        set_paths(network, masks[:, part].to(next(network.parameters()).device))


def trial_step(network: nn.Module, settings: TrainSettings, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the network and random images: it changes nothing."""
    copied = copy.deepcopy(network).train()
    optimizer = sgd(copied.parameters(), settings, nesterov=settings.nesterov)

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

    from nas.cost import count

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
    }
    run.write("result.json", result)
    return result
