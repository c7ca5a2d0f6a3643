"""Where a search is: all that is random in a step, and all that changes over the epochs, is a function of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nas.rng import generator, number

Scalar = float | Tensor
"""A number; in a step that is recorded a tensor without dimensions, which holds that of each replay."""
Law = Callable[["Moment"], Sequence[Tensor]]
"""Draws tensors on the host, always of the same shapes, from a moment's stream."""


@dataclass(frozen=True)
class Moment:
    """One half of a step.

    Args:
        seed: of the search.
        epoch, epochs: this one, from 0, and all.
        step: from the search's beginning.
        half: 0: the alphas'; 1: the weights'.
    """

    seed: int
    epoch: int = 0
    epochs: int = 1
    step: int = 0
    half: int = 0

    @property
    def progress(self) -> Scalar:
        """0 in the first epoch, 1 in the last."""
        return self.epoch / max(1, self.epochs - 1)

    @property
    def share(self) -> Scalar:
        """Of the epochs that are over: t / T."""
        return self.epoch / self.epochs

    def drawn(self, purpose: str, law: Law) -> Sequence[Tensor]:
        """What a law draws in this half for one purpose, once."""
        return law(self)

    def stream(self, purpose: str) -> torch.Generator:
        """The random numbers of this half for one purpose."""
        return generator(self.seed, purpose, self.step, self.half)

    def number(self, purpose: str) -> int:
        """A seed for one purpose in this half."""
        return number(self.seed, purpose, self.step, self.half)


class Tape:
    """What the host gives to every replay of a recorded step, in memory that stays in place: its epoch and its draws.

    Args:
        device: of the recording.
    """

    def __init__(self, device: torch.device) -> None:
        self.epoch = torch.zeros((), dtype=torch.float64, device=device)
        self.draws: dict[tuple[int, str], tuple[Law, Sequence[Tensor]]] = {}

    def write(self, moment: Moment) -> None:
        """Makes the next replay that of a moment."""
        self.epoch.fill_(moment.epoch)
        for (half, _), (law, memory) in self.draws.items():
            for own, drawn in zip(memory, law(replace(moment, half=half)), strict=True):
                own.copy_(drawn, non_blocking=True)

    def drawn(self, moment: Moment, purpose: str, law: Law) -> Sequence[Tensor]:
        """The memory of a draw, which the first call makes."""
        key = moment.half, purpose
        if key not in self.draws:
            self.draws[key] = law, [each.to(self.epoch.device) for each in law(moment)]
        return self.draws[key][1]


@dataclass(frozen=True)
class TapedMoment(Moment):
    """A moment of which a step is recorded: what depends on it is read from a tape."""

    tape: Tape = field(kw_only=True)

    @classmethod
    def of(cls, moment: Moment, tape: Tape) -> "TapedMoment":
        """A moment on tape."""
        tape.write(moment)
        return cls(moment.seed, moment.epoch, moment.epochs, moment.step, moment.half, tape=tape)

    @property
    def progress(self) -> Scalar:
        return self.tape.epoch / max(1, self.epochs - 1)

    @property
    def share(self) -> Scalar:
        return self.tape.epoch / self.epochs

    def drawn(self, purpose: str, law: Law) -> Sequence[Tensor]:
        plain = Moment(self.seed, self.epoch, self.epochs, self.step, self.half)
        return self.tape.drawn(plain, purpose, law)

    def stream(self, purpose: str) -> torch.Generator:
        raise AssertionError(f"{purpose}: only a law may draw in a recorded step")

    def number(self, purpose: str) -> int:
        raise AssertionError(f"{purpose}: only a law may draw in a recorded step")
