"""The one training loop, for networks of either branch; a step is :mod:`nas.train.step`."""

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from nas.architecture import Architecture
from nas.blocks.drop_path import set_paths
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Dataset
from nas.engine.overlay import overlay
from nas.execution import Execution
from nas.run.folder import Run
from nas.run.log import Epoch
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.evaluate import evaluate
from nas.train.fingerprint import fingerprint
from nas.train.finish import finish
from nas.train.preflight import Estimate, announce, measure
from nas.train.process_group import ProcessGroup
from nas.train.recipe import fit_to_device, make_average, make_optimizer
from nas.train.recorded import copies, restore
from nas.train.session import Session, Stateful, Watch, last_state
from nas.train.start import build, freeze, load_data, train_mode
from nas.train.step import TrainStep, train_step, unrecordable


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
    session = open_session(run, architecture, parts, settings, stream.steps, group, watch, quiet)
    step = TrainStep(network, optimizer, average, stream, settings, device, group, execution.backend)
    train_mode(network, frozen)
    if session.epoch < settings.epochs and not session.quiet:
        foretell(session, step, dataset, preset)
    final = average.module if average else network
    tested = overlay(final, execution.backend)
    with session:
        for epoch in session.epochs():
            train_mode(network, frozen)
            for number in session.steps():
                loss, right = step(epoch, number)
                session.add(**group.sum(loss=loss, correct=right))
            set_paths(network, None)
            scores = evaluate(tested, valid, augmentation, settings.precision) if len(valid) else None
            end_epoch(session, scores, settings.batch)
    test = evaluate(tested, dataset.test, augmentation, settings.precision) if open_test and group.first else None
    if not group.first:
        return None
    terms = fingerprint(settings, execution, run.spec(TrainSpec).init)
    return finish(run, final, architecture, settings, test, terms)


def augmentation_of(dataset: Dataset, settings: TrainSettings, device: str) -> Augmentation:
    """The recipe's augmentation of a data set."""
    resized = settings.crop == "resized"
    return Augmentation.of(dataset, cutout=settings.cutout, device=device, resized=resized, jitter=settings.jitter)


def title_of(run: Run, architecture: Architecture, settings: TrainSettings) -> str:
    """What a training is called beside its progress: train c2-s0 (36 × 20 cells, cifar10)."""
    body = architecture.body
    network = f"{body['channels']} × {body['cells']} cells" if architecture.kind == "cell" else body["network"]
    name = run.spec(TrainSpec).title or f"s{settings.seed}"
    return f"train {name} ({network}, {Path(settings.data).name})"


def open_session(
    run: Run,
    architecture: Architecture,
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
        title=title_of(run, architecture, settings),
        watch=watch,
        quiet=quiet or not group.first,
        writes=group.first,
        agree=group.any,
    )
    session.restore(last_state(run, group.first))
    return session


def foretell(session: Session[Epoch], step: TrainStep, dataset: Dataset, preset: str) -> None:
    """Prints how long a training will take, and on a GPU why its steps are not recorded, if so.

    Raises:
        UsageError: a step will not fit.
    """
    announce(measured(step, dataset), session, step.device, preset)
    if step.device != "cpu" and (reason := unrecordable(step.network, step.group)):
        print(f"{session.title}: steps are not recorded, as {reason}", file=sys.stderr, flush=True)


def measured(step: TrainStep, dataset: Dataset) -> Estimate:
    """What a step costs, of a recorded one the recording; nothing is changed by it.

    Raises:
        UsageError: it will not fit.
    """
    workers, trial = step.group.world_size, rehearsal(step, dataset)
    images = step.settings.batch // workers
    if not step.recordable:
        return measure(trial, images, step.device, workers=workers)
    before = copies(step.changed())
    estimate = measure(trial, images, step.device, lambda: step(step.settings.epochs - 1, 1), workers=workers)
    restore(step.changed(), before)
    return estimate


def rehearsal(step: TrainStep, dataset: Dataset) -> Callable[[int], None]:
    """A whole step on a copy of the network and so many random images: it changes nothing."""
    copied = copy.deepcopy(step.network).train()
    optimizer = make_optimizer(copied, step.settings)
    fit_to_device(optimizer)
    forward = overlay(copied, step.backend)

    def rehearse(images: int) -> None:
        train_step(forward, optimizer, dataset.random_batch(images, step.device), step.settings, step.device)

    return rehearse


def end_epoch(session: Session[Epoch], valid: tuple[float, float] | None, batch: int) -> None:
    """Logs losses and accuracies; ``valid`` is (loss, accuracy) on held-out images."""
    sums, images = session.sums(), session.per_epoch * batch
    values = {"train_loss": sums["loss"] / session.per_epoch, "train_accuracy": sums["correct"] / images}
    values |= {"valid_loss": valid[0], "valid_accuracy": valid[1]} if valid else {}
    line = f"train {values['train_accuracy']:.1%}" + (f"  valid {valid[1]:.1%}" if valid else "")
    session.end_epoch(line, **values)
