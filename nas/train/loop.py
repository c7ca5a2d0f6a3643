"""The one training loop, for networks of either branch."""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import Architecture
from nas.blocks.drop_path import draw_paths, set_paths
from nas.data.batches import Augmentation, Places, Stream
from nas.data.dataset import Dataset
from nas.execution import Execution, mixed
from nas.rng import generator
from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.data_parallel import data_parallel
from nas.train.evaluate import correct, evaluate
from nas.train.finish import finish
from nas.train.preflight import announce, measure
from nas.train.process_group import ProcessGroup
from nas.train.recipe import follow, make_average, make_optimizer
from nas.train.schedule import learning_rate, set_rate
from nas.train.session import Session, Stateful, Watch
from nas.train.start import build, freeze, load_data, train_mode

Batch = tuple[Tensor, Tensor]


def train(
    run: Run,
    architecture: Architecture,
    settings: TrainSettings,
    execution: Execution,
    *,
    preset: str = "",
    open_test: bool = True,
    watch: Watch[Epoch] | None = None,
    quiet: bool = False,
) -> TrainResult | None:
    """The result of a training in a run folder, begun or gone on with; None for all but the first of several workers.

    The test set is read once, at the end, if ``open_test``. ``watch`` and ``quiet`` as of :class:`Session`.

    Raises:
        UsageError: data, network or settings that cannot be used.
        Interrupted: on a signal, saved.
    """
    device = execution.start()
    dataset = load_data(settings, execution, device)
    images, valid = dataset.divided(settings.validation, settings.seed)
    group = ProcessGroup.current(settings.batch, settings.accumulate)
    augmentation = augmentation_of(dataset, settings, device)
    stream = Stream(images, augmentation, settings.batch, settings.seed, places=group.places)
    network = build(run, architecture, settings).to(device).to(memory_format=torch.channels_last)
    frozen = freeze(network, settings.freeze)
    optimizer, average = make_optimizer(network, settings), make_average(network, settings)
    parts: dict[str, Stateful] = {"network": network, "optimizer": optimizer}
    parts |= {"average": average} if average else {}
    session = open_session(run, parts, settings, stream.steps, group, watch, quiet)
    if session.epoch < settings.epochs and not session.quiet:
        estimate = measure(rehearsal(network, settings, dataset, device), settings.batch // group.world_size, device)
        announce(estimate, session, device, preset)
    tested, parallel = average.module if average else network, data_parallel(network, group)
    with session:
        for epoch in session.epochs():
            train_mode(network, frozen)
            for step in session.steps():
                set_rate(optimizer, learning_rate(settings, epoch, session.done / stream.steps))
                masks = draw_masks(network, settings, epoch, step, group.places)
                batch = stream.at(step)
                loss, logits = train_step(parallel, optimizer, batch, settings, device, masks, group)
                if average:
                    follow(average, network, settings.ema, step)
                session.add(**group.sum(loss=loss, correct=correct(logits, batch[1])))
            set_paths(network, None)
            end_epoch(
                session,
                evaluate(tested, valid, augmentation, settings.precision) if len(valid) else None,
                settings.batch,
            )
    test = evaluate(tested, dataset.test, augmentation, settings.precision) if open_test and group.first else None
    return finish(run, tested, architecture, settings, test) if group.first else None


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    settings: TrainSettings,
    device: str,
    masks: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """The batch's mean loss (of several workers: this one's share) without the auxiliary head's, and its logits.

    In ``settings.accumulate`` parts the gradient is that of the whole batch, but that each part has its own batch
    statistics and its own draws of dropout layers.

    Args:
        batch: images (N, C, H, W) and labels (N,), of several workers this one's share.
        masks: (paths, N) of the paths to drop; None: none.
        group: the workers, of whose gradients the network takes the mean; None: this one alone.
    """
    images, labels = batch
    group = group or ProcessGroup(len(labels), settings.accumulate)
    losses, logits = [], []
    optimizer.zero_grad()
    for part in group.slices():
        if masks is not None:
            set_paths(network, masks[:, part])
        share = (part.stop - part.start) / group.batch
        with group.gradient_sync(network):
            with mixed(settings.precision, device):
                out = network(images[part])
            out, auxiliary = out if isinstance(out, tuple) else (out, None)
            loss = total = cross_entropy(out, labels[part], settings.label_smoothing)
            if auxiliary is not None:
                total = loss + settings.auxiliary * cross_entropy(auxiliary, labels[part], settings.label_smoothing)
            (total * (share * group.world_size)).backward()
        losses.append(loss.detach() * share)
        logits.append(out.detach())
    if settings.clip:
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip)
    optimizer.step()
    return torch.stack(losses).sum(), torch.cat(logits)


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy, in at least single precision."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise, labels, label_smoothing=smoothing)


def draw_masks(
    network: nn.Module, settings: TrainSettings, epoch: int, step: int, places: Places = slice(None)
) -> Tensor | None:
    """The paths that a step drops at places of its batch, more often each epoch; sets dropout layers' seed too."""
    torch.manual_seed(generator(settings.seed, "extra", step).initial_seed())
    if not settings.drop_path:
        return None
    probability = settings.drop_path * epoch / settings.epochs
    masks = draw_paths(network, probability, settings.batch, generator(settings.seed, "paths", step))
    return masks[:, places].to(next(network.parameters()).device)


def augmentation_of(dataset: Dataset, settings: TrainSettings, device: str) -> Augmentation:
    """The recipe's augmentation of a data set."""
    resized = settings.crop == "resized"
    return Augmentation.of(dataset, cutout=settings.cutout, device=device, resized=resized, jitter=settings.jitter)


def open_session(
    run: Run,
    parts: dict[str, Stateful],
    settings: TrainSettings,
    steps: int,
    group: ProcessGroup,
    watch: Watch[Epoch] | None,
    quiet: bool,
) -> Session[Epoch]:
    """The session of a training, at its newest checkpoint; only the first of several workers writes and speaks."""
    session = Session(
        run,
        parts,
        Epoch,
        epochs=settings.epochs,
        steps=steps,
        title=f"train {run.spec(TrainSpec).title or f's{settings.seed}'}",
        watch=watch,
        quiet=quiet or not group.first,
        writes=group.first,
        agree=group.any,
    )
    session.restore()
    return session


def rehearsal(network: nn.Module, settings: TrainSettings, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the network and so many random images: it changes nothing."""
    copied = copy.deepcopy(network).train()
    optimizer = make_optimizer(copied, settings)

    def step(images: int) -> None:
        train_step(copied, optimizer, dataset.random_batch(images, device), settings, device)

    return step


def end_epoch(session: Session[Epoch], valid: tuple[float, float] | None, batch: int) -> None:
    """Logs losses and accuracies; ``valid`` is (loss, accuracy) on held-out images."""
    sums, images = session.sums(), session.per_epoch * batch
    values = {"train_loss": sums["loss"] / session.per_epoch, "train_accuracy": sums["correct"] / images}
    values |= {"valid_loss": valid[0], "valid_accuracy": valid[1]} if valid else {}
    line = f"train {values['train_accuracy']:.1%}" + (f"  valid {valid[1]:.1%}" if valid else "")
    session.end_epoch(line, **values)
