"""The search loop: alphas on one half of the training images, weights on the other."""

import copy
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

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
from nas.bilevel.sentinel import KEPT, Sentinel, sentence
from nas.bilevel.stages import AlphasOf, Stage, alphas_of, carry, space_of_stage, stage_at, stages
from nas.cells.supernet import Supernet
from nas.data.batches import Stream
from nas.data.dataset import Dataset
from nas.execution import Execution
from nas.moment import Moment, Tape, TapedMoment
from nas.run import names
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train.checkpoint import State
from nas.train.data_parallel import share_layers
from nas.train.evaluate import correct, evaluate
from nas.train.preflight import Estimate, announce, measure
from nas.train.process_group import ProcessGroup
from nas.train.recorded import CudaGraph, Graph, Recorded, copies, restore
from nas.train.schedule import cosine, set_rate
from nas.train.session import Session, Stateful, Watch, last_state


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
    state = last_state(run, course.group.first)
    first = stage_at(course.plan, state.epoch + state.done / course.steps if state else 0)
    alphas = course.alphas_of(run)
    step = course.begin(first, alphas)
    session = open_session(run, step, course, watch, state)
    if session.epoch < settings.epochs:
        estimate = course.estimate(step)
        if course.group.first:
            announce(estimate, session, course.device, preset)
        if course.group.first and course.group.world_size > 1 and settings.engine == "merged":
            print("several workers: the merged engine computes by its library back end", file=sys.stderr, flush=True)
    with session:
        step = course.heed(session, step, alphas)  # of an epoch after which a run was killed
        for stage in course.plan[first.number :]:
            if course.sentinel.over:
                break
            if stage is not step.stage:
                before, step = step, course.begin(stage, alphas)
                if not settings.fresh:
                    carry(before.learner, step.learner, stage)
                session.parts = course.parts(step)
            for epoch in session.epochs(stage.last):
                run_epoch(session, step, course, epoch)
                valid = evaluate(step.supernet, course.halves.valid, course.halves.augmentation, settings.precision)
                last = session.step - 1
                measured = course.sentinel.measure(epoch, stage, step.supernet, partial(step.valid.at, last))
                end_epoch(session, step.supernet, valid, settings.batch, step.alignment(last), measured)
                step = course.heed(session, step, alphas)
                if course.sentinel.over:
                    break
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
        backend: of the merged engine.
        group: the workers that share it.
        sentinel: what watches it.
    """

    settings: SearchSettings
    space: CellSpace
    device: str
    halves: Halves
    streams: tuple[Stream, Stream]
    plan: Sequence[Stage]
    budget: Budget | None
    backend: str
    group: ProcessGroup
    sentinel: Sentinel

    @classmethod
    def of(cls, settings: SearchSettings, space: CellSpace, execution: Execution, costs: EdgeCosts | None) -> "Course":
        """The course of a search; see :func:`search`."""
        device, plan = execution.start(), stages(settings)
        halves = Halves.of(settings, execution, device)
        group = ProcessGroup.current(settings.batch)
        streams = halves.streams(settings, group.shard_slice)
        learning = sum(stage.learns_alphas(epoch) for stage in plan for epoch in range(stage.first, stage.last))
        budget = Budget(costs, settings.limits, steps=learning * streams[0].steps).to(device) if costs else None
        sentinel = Sentinel(settings)
        return cls(settings, space, device, halves, streams, plan, budget, execution.backend, group, sentinel)

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
        supernet = build_supernet(stage.settings, space, len(self.halves.dataset.classes), self.backend)
        supernet.to(self.device).to(memory_format=torch.channels_last)
        share_layers(supernet, self.group)
        learner = Learner(supernet, stage.settings, self.device, self.budget)
        learner.decay_weights_by(self.sentinel.weight_decay)
        return Step(learner, *self.streams, stage)

    def parts(self, step: "Step") -> dict[str, Stateful]:
        """All that a checkpoint holds, by name."""
        return step.parts | ({"sentinel": self.sentinel} if self.sentinel.awake else {})

    def heed(self, session: Session[SearchEpoch], step: "Step", alphas: AlphasOf) -> "Step":
        """The step to go on with after an epoch: another one where the sentinel sends the search back.

        It goes by what the checkpoint of the epoch's end holds, so that a run that was killed there does the same.
        """
        sentinel, epoch = self.sentinel, session.epoch - 1
        if session.done or epoch < 0 or sentinel.over:
            return step
        if sentinel.keeps(epoch):
            session.keep(names.KEPT, KEPT)
        for alarm in sentinel.new_alarms(epoch, step.stage, step.supernet.genotype()):
            back = alarm.action != "warn" and alarm.back < epoch
            state = self.group.from_first(partial(session.kept, names.KEPT, alarm.back)) if back else None
            alarms = [*sentinel.alarms, replace(alarm, action="warn") if back and not state else alarm]
            if state:
                step = self.begin(step.stage, alphas)
                session.parts = self.parts(step)
                session.go_back(state)
            sentinel.alarms = alarms
            step.learner.decay_weights_by(sentinel.weight_decay)
            session.say(sentence(alarms[-1]))
            session.save()
            if state:
                break
        return step

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
            part = measured(own, self.halves.dataset, self.device, self.settings.batch, self.group.world_size)
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

    graph: Callable[[], Graph] = CudaGraph

    def __init__(self, learner: Learner, train: Stream, valid: Stream, stage: Stage | None = None) -> None:
        self.learner, self.train, self.valid = learner, train, valid
        self.supernet, self.stage = learner.supernet, stage or stages(learner.settings)[0]
        shared = dist.is_initialized()  # all workers would have to record and replay the exchanges between them alike
        on_device = train.split.images.is_cuda and valid.split.images.is_cuda
        self.recordable = learner.recordable and on_device and not shared
        self.recording: Recording | None = None

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """(Loss on the training batch, how many of it were right)."""
        alphas = self.stage.learns_alphas(moment.epoch)
        inputs = [*self.train.drawn(moment.step), *self.valid.drawn(moment.step)]
        run = self.recorded(alphas, moment, inputs) if self.recordable else partial(self.run, alphas, moment)
        result = run(*inputs)
        self.learner.end()
        return result

    def run(
        self, alphas: bool, moment: Moment, indices: Tensor, numbers: Tensor, *held_out: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A step on the batches of what was drawn, as :meth:`Stream.drawn` gives it."""
        train = self.train.batch_of(indices, numbers)
        loss, logits = self.learner.halves(moment, train, partial(self.valid.batch_of, *held_out), alphas=alphas)
        return loss, correct(logits, train[1])

    def recorded(self, alphas: bool, moment: Moment, inputs: Sequence[Tensor]) -> Recorded:
        """The step as a graph, with the tape set to a moment; recorded anew where the alphas begin to learn."""
        if self.recording is None or self.recording.alphas != alphas:
            self.recording = None  # its memory first
            tape = Tape(inputs[0].device)
            run = partial(self.run, alphas, TapedMoment.of(moment, tape))
            self.recording = Recording(alphas, tape, Recorded(run, inputs, self.changed, self.graph()))
            self.learner.schedule(moment)  # what is outside of the graph reads nothing in it
        self.recording.tape.write(moment)
        return self.recording.step

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
        """All that a step changes, by name; an optimiser without a history has nothing yet."""
        learner, modules = self.learner, {"supernet": self.supernet, "budget": self.learner.budget}
        tensors = {
            f"{part} {name}": tensor
            for part, module in modules.items()
            if module is not None
            for name, tensor in (*module.named_parameters(), *module.named_buffers())
        }
        for part, optimizer in (("weights", learner.weight_optimizer), ("alphas", learner.alpha_optimizer)):
            parameters = (each for group in optimizer.param_groups for each in group["params"])
            tensors |= {
                f"{part} {index} {name}": tensor
                for index, parameter in enumerate(parameters)
                for name, tensor in optimizer.state[parameter].items()
                if tensor is not None
            }
        return tensors


@dataclass(frozen=True)
class Recording:
    """A step as a graph: whether the alphas learn in it, the tape that it reads."""

    alphas: bool
    tape: Tape
    step: Recorded


def learning_rate(settings: SearchSettings, epoch: int) -> float:
    """The weights' learning rate in an epoch; stages that begin anew have a course each."""
    plan = stages(settings) if settings.fresh else [Stage(0, 0, settings.epochs, None, settings)]
    stage = next(stage for stage in plan if epoch < stage.last)
    return cosine((epoch - stage.first) / (stage.last - stage.first), settings.lr, settings.lr_min)


def open_session(
    run: Run, step: Step, course: Course, watch: Watch[SearchEpoch] | None, state: State | None
) -> Session[SearchEpoch]:
    """The session of a search, at this state; only the first of several workers writes and speaks."""
    group = course.group
    session = Session(
        run,
        course.parts(step),
        SearchEpoch,
        epochs=course.settings.epochs,
        steps=course.steps,
        title=f"search s{course.settings.seed} ({course.space.name}, {Path(course.settings.data).name})",
        watch=watch,
        quiet=not group.first,
        writes=group.first,
        agree=group.any,
    )
    session.restore(state)
    return session


def measured(step: Step, dataset: Dataset, device: str, batch: int, workers: int = 1) -> Estimate:
    """What a step costs, of a recorded one the recording; nothing is changed by it.

    Args:
        batch: of all workers.

    Raises:
        UsageError: it will not fit.
    """
    settings, images = step.learner.settings, batch // workers
    if not step.recordable:
        return measure(rehearsal(step, dataset, device), images, device, workers=workers)
    moment, before = Moment(settings.seed, step.stage.last - 1, settings.epochs), copies(step.changed())
    estimate = measure(rehearsal(step, dataset, device), images, device, lambda: step(moment), workers=workers)
    restore(step.changed(), before)
    return estimate


def rehearsal(step: Step, dataset: Dataset, device: str) -> Callable[[int], None]:
    """A whole step on a copy of the supernet and so many random images: it changes nothing."""
    settings = step.learner.settings

    @cache
    def learner() -> Learner:
        return Learner(copy.deepcopy(step.supernet), settings, device)

    alphas = step.stage.learns_alphas(step.stage.last - 1)

    def rehearse(images: int) -> None:
        batch = dataset.random_batch(images, device)
        learner().halves(Moment(settings.seed), batch, lambda: batch, alphas=alphas)
        learner().end()

    return rehearse
