"""Regularizers: terms of the alphas' loss. They see the alphas and their weights free of noise."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nas.cells.supernet import Supernet
from nas.methods import parse_regularizers
from nas.moment import Moment

Term = Callable[[Supernet], Tensor]
"""A scalar with a gradient of the alphas."""


def beta_decay(supernet: Supernet) -> Tensor:
    """Mean over a cell's edges of log Σ_o exp α_o, summed over the cell kinds (Ye et al., β-DARTS, CVPR 2022, Eq. 10).

    Its gradient is softmax(α) / edges: what is large shrinks most, so that weights are drawn together.
    """
    return torch.stack([supernet.scores(kind).logsumexp(dim=-1).mean() for kind in supernet.alphas]).sum()


def zero_one(supernet: Supernet) -> Tensor:
    """−mean (p − ½)², least where every weight is 0 or 1 (Chu et al., FairDARTS, ECCV 2020, Eq. 6).

    The mean is over the operations that an edge has.
    """
    squares = torch.cat([weights.flatten() for weights in supernet.strengths().values()]).sub(0.5).square()
    there = torch.cat([supernet.scores(kind).flatten() for kind in supernet.alphas]).isfinite()
    return -(squares * there).sum() / there.sum()


def entropy(supernet: Supernet) -> Tensor:
    """Mean entropy of an edge's weights in nats: least where each edge has chosen."""
    return mean_entropy(torch.cat([*supernet.strengths().values()]))


def mean_entropy(weights: Tensor) -> Tensor:
    """Of mixing weights (edges, operations), in nats, mean over the edges."""
    logs = weights.clamp_min(torch.finfo(weights.dtype).tiny).log()  # a masked operation's weight is 0, without slope
    return -(weights * logs).sum(dim=-1).mean()


@dataclass(frozen=True)
class Regularizer:
    """A term and its course: strength · term, or strength · t/T · term where it rises over the epochs."""

    term: Term
    rises: bool


REGULARIZERS = {
    "beta-decay": Regularizer(beta_decay, rises=True),
    "zero-one": Regularizer(zero_one, rises=False),
    "entropy": Regularizer(entropy, rises=True),
}


@dataclass(frozen=True)
class Penalty:
    """The sum of several regularizers, with their strengths."""

    parts: Sequence[tuple[Regularizer, float]]

    def __call__(self, supernet: Supernet, moment: Moment) -> Tensor:
        """What the alphas' loss has beside the cross-entropy, a scalar."""
        terms = [
            strength * (moment.share if part.rises else 1.0) * part.term(supernet) for part, strength in self.parts
        ]
        return torch.stack(terms).sum()


def make_penalty(text: str) -> Penalty | None:
    """The penalty of ``beta-decay:25,zero-one``; None: there is none."""
    parts = [(REGULARIZERS[name], strength) for name, strength in parse_regularizers(text)]
    return Penalty(parts) if parts else None
