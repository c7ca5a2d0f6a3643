"""Random streams without state: each is made anew from (seed, purpose, step), so that resuming needs nothing saved."""

import numpy as np
import torch

PURPOSES = (
    "init",
    "split",
    "order",
    "alpha-order",
    "augment",
    "alpha-augment",
    "paths",
    "labels",
    "extra",
    "draw",
    "gumbel",
    "dirichlet",
    "perturbation",
    "projection",
    "control",
    "chance",
)


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator for one purpose at one place of a run (an epoch, a step)."""
    return torch.Generator().manual_seed(number(seed, purpose, *counters))


def number(seed: int, purpose: str, *counters: int) -> int:
    """The same as a whole number of 63 bits, for random streams of others."""
    words = np.random.SeedSequence([seed, PURPOSES.index(purpose), *counters]).generate_state(1, np.uint64)
    return int(words[0]) >> 1
