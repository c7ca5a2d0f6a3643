"""Selection by perturbation: the operations and edges that a supernet can least do without (Wang et al., DARTS-PT,
ICLR 2021).

What is tried is masked, the other weights staying as they are, and the supernet judged on held-out images with batch
statistics: its running ones are those of another network. After each round the supernet is tuned.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nas.bilevel.decisions import Choices, Decision, rounds
from nas.bilevel.gradients import Learner
from nas.bilevel.halves import Halves
from nas.bilevel.loop import Step, measured
from nas.cells.genotype import Genotype
from nas.cells.recompute import still
from nas.cells.supernet import Supernet
from nas.data.dataset import Split
from nas.moment import Moment
from nas.run.folder import Run
from nas.run.log import ProjectionRound
from nas.settings import SearchSettings, make
from nas.train.evaluate import evaluate
from nas.train.preflight import span
from nas.train.schedule import cosine, set_rate
from nas.train.session import Session, Stateful, last_state


@dataclass(frozen=True)
class Plan:
    """How long a projection is.

    Args:
        decisions: of each round.
        images: held-out images that judge.
        epochs: of tuning after each round but the last, which has one.
        steps: of a tuning epoch.
    """

    decisions: Sequence[Sequence[Decision]]
    images: int
    epochs: int
    steps: int

    def trials(self, number: int) -> list[tuple[Decision, int]]:
        """What is tried in a round, one after the other."""
        return [(decision, trial) for decision in self.decisions[number] for trial in range(decision.trials)]

    @property
    def places(self) -> int:
        """Trials of the longest round; the places that a shorter one has left over pass at once."""
        return max(len(self.trials(number)) for number in range(len(self.decisions)))

    def tuning(self, number: int) -> int:
        """Steps of tuning at the end of a round."""
        return (self.epochs if number + 1 < len(self.decisions) else 1) * self.steps

    @property
    def evaluations(self) -> int:
        """Passes over the images that judge, in all rounds; one more a round says how good it has become."""
        return sum(len(self.trials(number)) + 1 for number in range(len(self.decisions)))


class Projection:
    """The rounds of one supernet, in a run folder, begun or gone on with.

    Args:
        run: where log and checkpoints go.
        settings: of the search.
        supernet: after its search; it is tuned.
        halves: the search's data.
        device: where all that is.
        images: held-out images that judge; None: all.
        epochs: of tuning a round.
    """

    def __init__(
        self,
        run: Run,
        settings: SearchSettings,
        supernet: Supernet,
        halves: Halves,
        device: str,
        *,
        images: int | None,
        epochs: int,
    ) -> None:
        self.settings = tuning_settings(settings)
        self.run, self.supernet, self.halves, self.device = run, supernet, halves, device
        self.judges = whole_batches(halves.valid, settings.batch, images)
        self.learner = Learner(supernet, self.settings, device)
        self.step = Step(self.learner, *halves.streams(settings))
        decisions, steps = rounds(supernet.space, settings.seed), self.step.train.steps
        self.plan = Plan(decisions, len(self.judges), epochs, steps)
        self.choices = Choices(supernet.relax, supernet.space, device)
        supernet.relax = self.choices

    def estimate(self) -> float:
        """Seconds that all rounds take, by one measured batch and one measured step."""
        batch, plan = self.settings.batch, self.plan
        step = measured(self.step, self.halves.dataset, self.device, batch)
        started = time.perf_counter()
        self.accuracy(self.judges.take(torch.arange(min(batch, plan.images))))
        passing = (time.perf_counter() - started) * plan.images / min(batch, plan.images)
        tuning = sum(map(plan.tuning, range(len(plan.decisions))))
        return plan.evaluations * passing + tuning * step.seconds

    def accuracy(self, split: Split) -> float:
        """The supernet's accuracy as it is now."""
        return batch_accuracy(self.supernet, split, self.halves, self.settings)

    def genotype(self) -> Genotype:
        """Does what is left of the rounds."""
        session = self.session()
        with session:
            for number in session.epochs():
                self.supernet.train()
                trials, tuning = self.plan.trials(number), self.plan.tuning(number)
                for _ in session.steps():
                    place = session.done
                    if place < len(trials):
                        self.consider(*trials[place])
                    elif 0 <= (step := place - self.plan.places) < tuning:
                        loss, right = self.tune(number, step)
                        session.add(loss=loss, correct=right)
                self.end(session, tuning)
        return self.choices.genotype()

    def session(self) -> Session[ProjectionRound]:
        """At its newest checkpoint; what is left is announced."""
        parts: dict[str, Stateful] = {"supernet": self.supernet, **self.learner.parts, "choices": self.choices}
        count, steps = len(self.plan.decisions), self.plan.places + self.plan.epochs * self.plan.steps
        title = f"perturbation {self.supernet.space.name} s{self.settings.seed}"
        session = Session(self.run, parts, ProjectionRound, epochs=count, steps=steps, title=title)
        session.restore(last_state(self.run))
        if session.epoch < count:
            plan, left = self.plan, 1 - session.step / (count * steps)
            print(
                f"perturbation: {plan.evaluations} passes over {plan.images} held-out images, {count} rounds with "
                f"{plan.epochs} epochs of tuning between: about {span(left * self.estimate())} to go",
                file=sys.stderr,
                flush=True,
            )
        return session

    def consider(self, decision: Decision, trial: int) -> None:
        """Tries to do without one thing; after the last one decides."""
        choices = self.choices
        decision.mask(choices, trial)
        choices.accuracies.append(self.accuracy(self.judges))
        for mask in choices.mask.values():
            mask.fill_(1)
        if trial + 1 == decision.trials:
            decision.decide(choices)
            choices.accuracies = []

    def tune(self, number: int, step: int) -> tuple[Tensor, Tensor]:
        """A step of tuning, with batches that the search has not had: (loss, how many were right)."""
        plan, settings = self.plan, self.settings
        total = number * plan.epochs * plan.steps + step
        progress = total // plan.steps / ((len(plan.decisions) - 1) * plan.epochs + 1)
        first = settings.lr / 10
        set_rate(self.learner.weight_optimizer, cosine(progress, first, min(first, settings.lr_min)))
        last = settings.epochs - 1
        return self.step(Moment(settings.seed, last, settings.epochs, settings.epochs * plan.steps + total))

    def end(self, session: Session[ProjectionRound], tuning: int) -> None:
        """Logs the round."""
        sums = session.sums()
        accuracy, valid = sums["correct"] / (tuning * self.settings.batch), self.accuracy(self.judges)
        session.end_epoch(
            f"train {accuracy:.1%}  valid {valid:.1%}",
            train_loss=sums["loss"] / tuning,
            train_accuracy=accuracy,
            valid_accuracy=valid,
            operations={kind: chosen.tolist() for kind, chosen in self.choices.operations.items()},
            present={kind: present.tolist() for kind, present in self.choices.present.items()},
        )


def tuning_settings(settings: SearchSettings) -> SearchSettings:
    """First-order search under the same relaxation: what else a method adds has no say in the choice."""
    usual = SearchSettings()
    parts = ("perturb", "regularize", "freeze", "skip", "sharpness", "order", "levels")
    return make(SearchSettings, {**asdict(settings), **{name: getattr(usual, name) for name in parts}})


def whole_batches(split: Split, batch: int, images: int | None) -> Split:
    """At most so many images, in whole batches: a batch's statistics are no better than its images are many."""
    wanted = min(images or len(split), len(split))
    return split.take(torch.arange(wanted // batch * batch))


def batch_accuracy(
    supernet: Supernet,
    split: Split,
    halves: Halves,
    settings: SearchSettings,
    mixing: Mapping[str, Any] | None = None,
) -> float:
    """Accuracy with the statistics of batches of the settings' size, in their precision; nothing is changed by it.

    Args:
        mixing: weights to see it under; None: the supernet's own.
    """
    supernet.train()
    if mixing is not None:
        mixing = {kind: weights.to(supernet.alphas[kind].device) for kind, weights in mixing.items()}
    with still(supernet):
        network = partial(supernet, mixing=mixing)
        return evaluate(network, split, halves.augmentation, settings.precision, settings.batch)[1]
