"""What a study would take and what it could see, before it begins: from one measured step of each kind."""

from dataclasses import dataclass
from pathlib import Path

import torch

from nas.architecture import Architecture
from nas.bilevel.loop import Course
from nas.cells.supernet import derive
from nas.commands.begin import check_data
from nas.commands.deriving import costs_of
from nas.commands.found_cell import network_of_cell
from nas.commands.retraining import fitted
from nas.commands.studying import check, spec_of
from nas.data.batches import Stream
from nas.execution import Execution
from nas.reports.statistics import FEWEST, detectable, seeds_needed
from nas.run.spec import Arm, StudySpec
from nas.settings import StudySettings
from nas.space import load as load_space
from nas.train.loop import augmentation_of, measured
from nas.train.process_group import ProcessGroup
from nas.train.recipe import make_optimizer
from nas.train.step import TrainStep


@dataclass(frozen=True)
class ArmPlan:
    """Seconds of all steps of one search and of one training, as one step of each was measured."""

    space: str
    method: str
    search_seconds: float
    training_seconds: float


@dataclass(frozen=True)
class Plan:
    """What a study takes on this device, and the differences from random cells that it sees with 80 % power.

    Args:
        seeds, controls, retrain_seeds: searches and random cells an arm, trainings a cell.
        deviation: of the cells' errors, as a fraction, that is reckoned with.
        sees: the least difference, as a fraction; None: with fewer than three a side none is called.
        detect: a difference that is to be seen, if any; it takes ``needed`` seeds and as many random cells.
    """

    arms: tuple[ArmPlan, ...]
    seeds: int
    controls: int
    retrain_seeds: int
    deviation: float
    sees: float | None
    detect: float | None = None
    needed: int | None = None

    @property
    def trainings(self) -> dict[str, int]:
        """How many, by role."""
        cells = {"search": self.seeds, "retrain": self.seeds, "control": self.controls}
        each = {"search": 1, "retrain": self.retrain_seeds, "control": self.retrain_seeds}
        return {role: len(self.arms) * count * each[role] for role, count in cells.items()}

    def device_hours(self, seeds: int, controls: int) -> float:
        """Of so many searches and random cells an arm; the evaluations come on top."""
        cells = (seeds + controls) * self.retrain_seeds
        return sum(seeds * arm.search_seconds + cells * arm.training_seconds for arm in self.arms) / 3600


def plan(
    settings: StudySettings,
    *,
    deviation: float,
    detect: float | None = None,
    ops: Path | None = None,
    execution: Execution = Execution(),  # noqa: B008 - frozen
) -> Plan:
    """The plan of a study.

    Args:
        deviation, detect: see :class:`Plan`.

    Raises:
        UsageError: settings, spaces or data that cannot be used, or a step that does not fit the memory.
    """
    spec = spec_of(settings, execution, ops)
    check(spec, execution)
    needed = detect and seeds_needed(detect, deviation)
    return Plan(
        arms=tuple(arm_plan(spec, arm, execution) for arm in spec.arms),
        seeds=len(spec.seeds),
        controls=spec.controls,
        retrain_seeds=len(spec.retrain_seeds),
        deviation=deviation,
        sees=detectable(deviation, len(spec.seeds), spec.controls),
        detect=detect,
        needed=max(needed, FEWEST) if needed else None,
    )


def arm_plan(spec: StudySpec, arm: Arm, execution: Execution) -> ArmPlan:
    """What a search and a training of an arm take; that of a random cell, as nothing is found yet."""
    space, dataset = load_space(arm.search.space), check_data(arm.search, execution)
    costs = costs_of(space, arm.final, dataset) if arm.search.limits else None
    course = Course.of(arm.search, space, execution, costs)
    first = course.begin(course.plan[0], lambda _: {})
    search = course.estimate(first).seconds * course.steps * arm.search.epochs
    stream = torch.Generator().manual_seed(0)
    strengths = {kind: torch.rand(space.edges, len(space.ops), generator=stream) for kind in space.kinds}
    network = network_of_cell(derive(space, strengths), arm.final, dataset)
    return ArmPlan(arm.search.space, arm.search.method, search, training_seconds(spec, network, execution))


def training_seconds(spec: StudySpec, architecture: Architecture, execution: Execution) -> float:
    """All steps of a network's training, as one was measured."""
    settings, device = spec.settings, execution.start()
    dataset = check_data(settings, execution)
    network = fitted(architecture, dataset.shape, len(dataset.classes), settings).build()
    network.to(device).to(memory_format=torch.channels_last).train()
    group = ProcessGroup.current(settings.batch, settings.accumulate)
    images, _ = dataset.divided(settings.validation, settings.seed)
    augmentation = augmentation_of(dataset, settings, device)
    stream = Stream(images, augmentation, settings.batch, settings.seed, places=group.places)
    optimizer = make_optimizer(network, settings)
    step = TrainStep(network, optimizer, None, stream, settings, device, group, execution.backend)
    return measured(step, dataset).seconds * stream.steps * settings.epochs
