"""The search loop: alphas on one half of the training images, weights on the other."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from nas.bilevel.alignment import layer_alignment
from nas.bilevel.budget import Budget
from nas.bilevel.build import build_supernet
from nas.bilevel.derivation import EdgeCosts
from nas.bilevel.epoch import end_epoch
from nas.bilevel.gradients import Learner
from nas.bilevel.halves import Halves
from nas.bilevel.stages import AlphasOf, Stage, alphas_of, carry, space_of_stage, stage_at, stages
from nas.cells.supernet import Supernet
from nas.data.batches import Stream
from nas.data.dataset import Dataset
from nas.execution import Execution
from nas.moment import Moment
from nas.run import names
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train.checkpoint import entries
from nas.train.data_parallel import share_layers
from nas.train.evaluate import correct, evaluate
from nas.train.preflight import Estimate, announce, measure
from nas.train.process_group import ProcessGroup
from nas.train.recorded import Recorded
from nas.train.schedule import cosine, set_rate
from nas.train.session import Session, Stateful, Watch


def search(
    run: Run,
    settings: SearchSettings,
    space: CellSpace,
    execution: Execution,
    preset: str = "",
    watch: Watch[SearchEpoch] | None = None,
    costs: EdgeCosts | None = None,
) -> Supernet:
    """The supernet after its last epoch: of a search in a run folder, begun or gone on with; on all of several workers.

    Args:
        costs: of the network that the cell is meant for, where the settings limit them.

    Raises:
        UsageError: data or settings that cannot be used.
        Interrupted: on a signal, saved.
    """
    course = Course.of(settings, space, execution, costs)
    checkpoints = entries(run.path / names.CHECKPOINT)
    first = stage_at(course.plan, checkpoints[0].step / course.steps if checkpoints else 0)
    alphas = course.alphas_of(run)
    step = course.begin(first, alphas)
    session = open_session(run, step, course, watch)
    if session.epoch < settings.epochs:
        estimate = course.estimate(step)
        if course.group.first:
            announce(estimate, session, course.device, preset)
        if course.group.first and course.group.world_size > 1 and settings.engine == "merged":
            print("several workers: the merged engine computes by its library back end", file=sys.stderr, flush=True)
    with session:
        for stage in course.plan[first.number :]:
            if stage is not step.stage:
                before, step = step, course.begin(stage, alphas)
                if not settings.fresh:
                    carry(before.learner, step.learner, stage)
                session.parts = step.parts
            for epoch in session.epochs(stage.last):
                run_epoch(session, step, course, epoch)
                valid = evaluate(step.supernet, course.halves.valid, course.halves.augmentation)
                end_epoch(session, step.supernet, valid, settings.batch, step.alignment(session.step - 1))
    return step.supernet


@dataclass(frozen=True)
class Course:
    """What the stages of a search have in common.

    Args:
        settings, space: of the whole search.
        device: where it runs.
        halves, streams: its data and batches.
        plan: its stages.
        budget: expected costs and their prices, where they are limited.
        group: the workers that share it.
    """

    settings: SearchSettings
    space: CellSpace
    device: str
    halves: Halves
    streams: tuple[Stream, Stream]
    plan: Sequence[Stage]
    budget: Budget | None
    group: ProcessGroup

    @classmethod
    def of(cls, settings: SearchSettings, space: CellSpace, execution: Execution, costs: EdgeCosts | None) -> "Course":
        """The course of a search; see :func:`search`."""
        device, plan = execution.start(), stages(settings)
        halves = Halves.of(settings, execution, device)
        group = ProcessGroup.current(settings.batch)
        streams = halves.streams(settings, group.shard_slice)
        learning = sum(stage.learns_alphas(epoch) for stage in plan for epoch in range(stage.first, stage.last))
        budget = Budget(costs, settings.limits, steps=learning * streams[0].steps).to(device) if costs else None
        return cls(settings, space, device, halves, streams, plan, budget, group)

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.streams[0].steps

    def alphas_of(self, run: Run) -> AlphasOf:
        """Those that a run has logged, which the first of several workers alone may see."""
        logged = alphas_of(run)
        return lambda epoch: self.group.from_first(partial(logged, epoch))

    def begin(self, stage: Stage, alphas: AlphasOf) -> "Step":
        """The step of a stage, with a supernet of its own."""
        space = space_of_stage(self.space, self.plan, stage, alphas)
        supernet = build_supernet(stage.settings, space, len(self.halves.dataset.classes)).to(self.device)
        supernet.to(memory_format=torch.channels_last)
        share_layers(supernet, self.group)
        return Step(Learner(supernet, stage.settings, self.device, self.budget), *self.streams, stage)

    def estimate(self, step: "Step") -> Estimate:
        """Mean time and peak memory of a step in this stage and the later ones, which keep the operations listed last.

        Raises:
            UsageError: a stage will not fit.
        """
        guess = [list(map(float, range(len(self.space.ops))))] * self.space.edges
        later = self.plan[step.stage.number + 1 :]
        seconds, peak, epochs = 0.0, 0, 0
        for stage in (step.stage, *later):
            own = step if stage is step.stage else self.begin(stage, lambda _: dict.fromkeys(self.space.kinds, guess))
            images = self.settings.batch // self.group.world_size
            part = measure(rehearsal(own, self.halves.dataset, self.device), images, self.device)
            length = stage.last - stage.first
            seconds, peak, epochs = seconds + length * part.seconds, max(peak, part.peak_bytes), epochs + length
        return Estimate(seconds / epochs, peak)


def run_epoch(session: Session[SearchEpoch], step: "Step", course: Course, epoch: int) -> None:
    """The steps of an epoch that are still to do."""
    settings, group = course.settings, course.group
    set_rate(step.learner.weight_optimizer, learning_rate(settings, epoch))
    step.learner.schedule(Moment(settings.seed, epoch, settings.epochs))  # also where only the epoch's end is left
    step.supernet.train()
    for number in session.steps():
        loss, right = step(Moment(settings.seed, epoch, settings.epochs, number))
        session.add(**group.sum(loss=loss / group.world_size, correct=right))


class Step:
    """A step: alphas on a held-out batch, then weights on a training batch; on a GPU it is recorded and replayed.

    Args:
        learner: of the supernet, whose batch statistics a step changes too.
        train, valid: the two streams.
        stage: of the search.
    """

    def __init__(self, learner: Learner, train: Stream, valid: Stream, stage: Stage | None = None) -> None:
        self.learner, self.train, self.valid = learner, train, valid
        self.supernet, self.stage = learner.supernet, stage or stages(learner.settings)[0]
        on_device = train.split.images.is_cuda and valid.split.images.is_cuda
        drawn = "noise" in self.supernet.space.ops  # by the host
        shared = dist.is_initialized()  # all workers would have to record and replay the exchanges between them alike
        self.recordable = on_device and learner.recordable and not drawn and not shared
        self.recorded: dict[bool, Recorded] = {}

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """(Loss on the training batch, how many of it were right)."""
        alphas = self.stage.learns_alphas(moment.epoch)
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
        train = self.train.batch_of(indices, numbers)
        loss, logits = self.learner.halves(moment, train, partial(self.valid.batch_of, *held_out), alphas=alphas)
        return loss, correct(logits, train[1])

    @property
    def parts(self) -> dict[str, Stateful]:
        """Everything that learns, by its name in a checkpoint."""
        return {"supernet": self.supernet, **self.learner.parts}

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
    """The weights' learning rate in an epoch; stages that begin anew have a course each."""
    plan = stages(settings) if settings.fresh else [Stage(0, 0, settings.epochs, None, settings)]
    stage = next(stage for stage in plan if epoch < stage.last)
    return cosine((epoch - stage.first) / (stage.last - stage.first), settings.lr, settings.lr_min)


def open_session(run: Run, step: Step, course: Course, watch: Watch[SearchEpoch] | None) -> Session[SearchEpoch]:
    """The session of a search, at its newest checkpoint; only the first of several workers writes and speaks."""
    group = course.group
    session = Session(
        run,
        step.parts,
        SearchEpoch,
        epochs=course.settings.epochs,
        steps=course.steps,
        title=f"search {course.space.name} s{course.settings.seed}",
        watch=watch,
        quiet=not group.first,
        writes=group.first,
        agree=group.any,
    )
    session.restore()
    return session


def rehearsal(step: Step, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the supernet and so many random images: it changes nothing."""
    settings = step.learner.settings
    learner = Learner(copy.deepcopy(step.supernet), settings, device)

    def rehearse(images: int) -> None:
        batch = dataset.random_batch(images, device)
        learner.step(Moment(settings.seed), batch, batch)

    return rehearse
