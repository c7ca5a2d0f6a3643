"""Random streams without state: each is made anew from (seed, purpose, step), so that resuming needs nothing saved."""

import numpy as np
import torch

PURPOSES = ("init", "split", "order", "alpha-order", "augment", "alpha-augment", "paths", "labels", "extra", "gumbel")


def generator(seed: int, purpose: str, *counters: int) -> torch.Generator:
    """A CPU generator for one purpose at one place of a run (an epoch, a step)."""
    words = np.random.SeedSequence([seed, PURPOSES.index(purpose), *counters]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(words[0]) >> 1)
