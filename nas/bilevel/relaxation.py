"""Relaxations: alphas → an edge's mixing weights in a step.

A relaxation is drawn once for each half of a step, so that all passes of a half see the same weights, and cleared after
it: without a draw it gives its weights free of noise. A masked operation has alpha −∞ and gets weight 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributions import Dirichlet as DirichletLaw

from nas.cells.supernet import Softmax
from nas.moment import Moment, Scalar
from nas.settings import SearchSettings

LEAST_CONCENTRATION = 1e-5


class Relaxation(Softmax):
    """p = softmax(α) (Liu et al., DARTS, ICLR 2019, Eq. 2); what the others vary.

    Args:
        settings: temperatures.
        shapes: of the alphas of each cell kind, (edges, operations).
    """

    def __init__(self, settings: SearchSettings, shapes: Mapping[str, torch.Size]) -> None:
        self.settings, self.shapes = settings, shapes


class Sigmoid(Relaxation):
    """p = σ(α): operations do not compete (Chu et al., FairDARTS, ECCV 2020, Eq. 4)."""

    def strengths(self, alphas: Tensor) -> Tensor:
        return alphas.sigmoid()


class Gumbel(Relaxation):
    """p = softmax((log softmax(α) + g) / τ), g Gumbel noise (Xie et al., SNAS, ICLR 2019, Eq. 5); τ falls linearly."""

    noise: Mapping[str, Tensor] | None = None
    tau: Scalar = 1.0

    def draw(self, moment: Moment) -> None:
        settings = self.settings
        self.tau = settings.tau + moment.progress * (settings.tau_min - settings.tau)
        self.noise = dict(zip(self.shapes, moment.drawn("gumbel", self.law), strict=True))

    def law(self, moment: Moment) -> Sequence[Tensor]:
        """Gumbel noise of each cell kind."""
        stream = moment.stream("gumbel")
        return [-torch.empty(shape).exponential_(generator=stream).log() for shape in self.shapes.values()]

    def clear(self) -> None:
        self.noise = None

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        return self.strengths(alphas) if self.noise is None else self.scores(kind, alphas).softmax(dim=-1)

    def scores(self, kind: str, alphas: Tensor) -> Tensor:
        """(log softmax(α) + g) / τ; without a draw log softmax(α)."""
        scores = alphas.log_softmax(dim=-1)
        return scores if self.noise is None else (scores + self.noise[kind].to(scores)) / self.tau


class Path(Gumbel):
    """The one most likely operation under Gumbel noise (Dong and Yang, GDAS, CVPR 2019, Eq. 5), for a fan-out that runs
    no other (:mod:`nas.cells.sampled`)."""

    recordable = False

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        """Per edge (operation, weight): 1, with the gradient of the relaxed probability; without a draw, without."""
        likely, chosen = self.scores(kind, alphas).softmax(dim=-1).max(dim=-1)
        weights = torch.ones_like(likely) if self.noise is None else 1 - likely.detach() + likely
        return list(zip(chosen.tolist(), weights.unbind(), strict=True))


class Dirichlet(Relaxation):
    """p ~ Dirichlet(b), b = elu(α) + 1, with pathwise gradients (Chen et al., DrNAS, ICLR 2021, Eq. 5).

    A cell is derived from softmax(α), which has the order of the mean b / Σb on an edge.

    Args:
        scale: of all concentrations; towards infinity the draws tend to the mean.
    """

    recordable = False
    seed: int | None = None
    scale = 1.0

    def draw(self, moment: Moment) -> None:
        self.seed = moment.number("dirichlet")

    def clear(self) -> None:
        self.seed = None

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        allowed = alphas.isfinite()
        concentration = (F.elu(alphas.where(allowed, 0.0)) + 1).clamp_min(LEAST_CONCENTRATION) * self.scale
        if self.seed is None:
            drawn = concentration
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.seed + list(self.shapes).index(kind))
                drawn = DirichletLaw(concentration.cpu()).rsample().to(alphas)
        masked = drawn.where(allowed, 0.0)
        return masked / masked.sum(dim=-1, keepdim=True)


RELAXATIONS: dict[str, type[Relaxation]] = {
    "softmax": Relaxation,
    "sigmoid": Sigmoid,
    "gumbel": Gumbel,
    "dirichlet": Dirichlet,
    "path": Path,
}


def noise_free(relaxation: str, alphas: Tensor) -> Tensor:
    """The weights, (edges, operations), by which a supernet without a draw mixes; of paths, which mix nothing, the
    probabilities that they are drawn with."""
    if relaxation == "path":
        return alphas.softmax(dim=-1)
    mixing: Tensor = RELAXATIONS[relaxation](SearchSettings(), {"": alphas.shape})("", alphas)
    return mixing
