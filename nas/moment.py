"""Where a search is: all that is random in a step, and all that changes over the epochs, is a function of it."""

from dataclasses import dataclass

import torch

from nas.rng import generator, number


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
    def progress(self) -> float:
        """0 in the first epoch, 1 in the last."""
        return self.epoch / max(1, self.epochs - 1)

    @property
    def share(self) -> float:
        """Of the epochs that are over: t / T."""
        return self.epoch / self.epochs

    def stream(self, purpose: str) -> torch.Generator:
        """The random numbers of this half for one purpose."""
        return generator(self.seed, purpose, self.step, self.half)

    def number(self, purpose: str) -> int:
        """A seed for one purpose in this half."""
        return number(self.seed, purpose, self.step, self.half)
