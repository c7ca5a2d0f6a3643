"""The search loop: alphas on one half of the training images, weights on the other."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from nas.bilevel.alignment import layer_alignment
from nas.bilevel.build import build_supernet
from nas.bilevel.epoch import end_epoch
from nas.bilevel.gradients import Learner
from nas.bilevel.halves import Halves
from nas.bilevel.moment import Moment
from nas.bilevel.recorded import Recorded
from nas.cells.supernet import Supernet
from nas.data.batches import Stream
from nas.data.dataset import Dataset
from nas.execution import Execution
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train.evaluate import correct, evaluate
from nas.train.preflight import announce, measure
from nas.train.schedule import cosine, set_rate
from nas.train.session import Session, Stateful, Watch


def search(
    run: Run,
    settings: SearchSettings,
    space: CellSpace,
    execution: Execution,
    preset: str = "",
    watch: Watch[SearchEpoch] | None = None,
) -> Supernet:
    """The supernet after its last epoch: of a search in a run folder, begun or gone on with.

    Raises:
        UsageError: data or settings that cannot be used.
        Interrupted: on a signal, saved.
    """
    device = execution.start()
    halves = Halves.of(settings, execution, device)
    dataset, valid = halves.dataset, halves.valid
    supernet = build_supernet(settings, space, len(dataset.classes)).to(device).to(memory_format=torch.channels_last)
    learner = Learner(supernet, settings, device)
    step = Step(supernet, learner, *halves.streams(settings))
    session = open_session(run, supernet, learner, settings, space.name, step.train.steps, watch)
    if session.epoch < settings.epochs:
        announce(
            measure(rehearsal(supernet, settings, dataset, device), settings.batch, device), session, device, preset
        )
    with session:
        for epoch in session.epochs():
            set_rate(learner.weight_optimizer, learning_rate(settings, epoch))
            supernet.train()
            for number in session.steps():
                loss, right = step(Moment(settings.seed, epoch, settings.epochs, number))
                session.add(loss=loss, correct=right)
            alignment = step.alignment(session.step - 1)
            end_epoch(session, supernet, evaluate(supernet, valid, halves.augmentation), settings.batch, alignment)
    return supernet


class Step:
    """A step: alphas on a held-out batch, then weights on a training batch; on a GPU it is recorded and replayed.

    Args:
        supernet: whose batch statistics a step changes too.
        learner: its two optimisers.
        train, valid: the two streams.
    """

    def __init__(self, supernet: Supernet, learner: Learner, train: Stream, valid: Stream) -> None:
        self.supernet, self.learner, self.train, self.valid = supernet, learner, train, valid
        on_device = train.split.images.is_cuda and valid.split.images.is_cuda
        drawn = "noise" in supernet.space.ops  # by the host
        self.recordable = on_device and learner.constant and not drawn
        self.recorded: dict[bool, Recorded] = {}

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """(Loss on the training batch, how many of it were right)."""
        alphas = moment.epoch >= self.learner.settings.alphas_from
        inputs = [*self.train.drawn(moment.step), *self.valid.drawn(moment.step)]
        gradients: Callable[..., tuple[Tensor, Tensor]] = partial(self.gradients, alphas, moment)
        if self.recordable:
            if alphas not in self.recorded:
                self.recorded[alphas] = Recorded(gradients, inputs, self.changed)
            gradients = self.recorded[alphas]
        loss, right = gradients(*inputs)
        self.learner.update_weights()
        self.learner.end()
        return loss, right

    def gradients(
        self, alphas: bool, moment: Moment, indices: Tensor, numbers: Tensor, *held_out: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A step up to the update of the weights, whose learning rate changes; inputs as :meth:`Stream.drawn` gives."""
        train, learner = self.train.batch_of(indices, numbers), self.learner
        single = learner.settings.levels == 1
        if alphas and not single:
            learner.begin(moment)
            learner.step_alphas(train, self.valid.batch_of(*held_out))
        learner.begin(replace(moment, half=1))
        loss, logits = learner.step_both(train) if alphas and single else learner.differentiate_weights(train)
        return loss, correct(logits, train[1])

    def alignment(self, number: int) -> float | None:
        """The layer alignment on a step's training batch; None: paths are drawn, which have no mixing weights."""
        if self.learner.settings.relaxation == "path":
            return None
        return layer_alignment(self.supernet, self.train.at(number))

    def changed(self) -> dict[str, Tensor]:
        """All that :meth:`gradients` changes, by name; an optimiser without a history has nothing yet."""
        state = self.learner.alpha_optimizer.state
        moments = {
            f"{index} {name}": value
            for index, alpha in enumerate(self.learner.alphas)
            for name, value in state[alpha].items()
        }
        return {**moments, **dict(self.supernet.named_parameters()), **dict(self.supernet.named_buffers())}


def learning_rate(settings: SearchSettings, epoch: int) -> float:
    """The weights' learning rate in an epoch."""
    return cosine(epoch / settings.epochs, settings.lr, settings.lr_min)


def open_session(
    run: Run,
    supernet: Supernet,
    learner: Learner,
    settings: SearchSettings,
    space: str,
    steps: int,
    watch: Watch[SearchEpoch] | None,
) -> Session[SearchEpoch]:
    """The session of a search, at its newest checkpoint."""
    parts: dict[str, Stateful] = {"supernet": supernet, **learner.parts}
    title = f"search {space} s{settings.seed}"
    session = Session(run, parts, SearchEpoch, epochs=settings.epochs, steps=steps, title=title, watch=watch)
    session.restore()
    return session


def rehearsal(supernet: Supernet, settings: SearchSettings, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the supernet and so many random images: it changes nothing."""
    copied = copy.deepcopy(supernet)
    learner = Learner(copied, settings, device)

    def step(images: int) -> None:
        batch = dataset.random_batch(images, device)
        learner.begin(Moment(settings.seed))
        learner.step_alphas(batch, batch)
        learner.step_weights(batch)

    return step
