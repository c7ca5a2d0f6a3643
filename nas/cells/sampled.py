"""Sampled paths: one operation of each edge is drawn and runs, the others do not (Dong and Yang, GDAS, CVPR 2019)."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor

from nas.cells.supernet import MixedFanOut, Supernet
from nas.space import CellSpace

Path = tuple[int, Tensor]
"""Of one edge: the drawn operation, known to the host, and its weight, a scalar."""


class SampledFanOut(MixedFanOut):
    """MixedFanOut's modules; in the place of a row of mixing weights an edge has a :data:`Path`."""

    def mix(self, node: int, state: Tensor, weights: Any) -> Tensor:
        """weight · o(state) of the drawn operation."""
        chosen, weight = weights
        return cast(Tensor, weight * self.operations(node)[chosen](state))


class SampledSupernet(Supernet):
    """A supernet of which one path is run, the same in all cells of a kind.

    In evaluation mode each edge runs its best operation, with weight 1.

    Args:
        space, sizes: as of :class:`Supernet`, without an engine.
    """

    def __init__(self, space: CellSpace, **sizes: Any) -> None:
        super().__init__(space, fan_out=SampledFanOut, **sizes)
        self.tau = 1.0
        self.noise = {kind: torch.zeros(alpha.shape) for kind, alpha in self.alphas.items()}

    def draw(self, stream: torch.Generator, tau: float) -> None:
        """New Gumbel noise, at temperature ``tau``: the path of all passes until the next draw and change of alphas."""
        self.tau = tau
        self.noise = {
            kind: -torch.empty(noise.shape).exponential_(generator=stream).log() for kind, noise in self.noise.items()
        }

    def forward(self, images: Tensor, mixing: Mapping[str, Any] | None = None) -> Tensor:
        """(N, 3, H, W) → logits (N, classes), along the paths of each cell kind; None: its own."""
        return super().forward(images, mixing or {kind: self.paths(kind) for kind in self.alphas})

    def paths(self, kind: str) -> list[Path]:
        """Per edge the most likely operation under the noise; its weight is 1 and has the gradient of the relaxed
        probability p = softmax((log softmax(α) + noise) / τ)."""
        scores = self.scores(kind).log_softmax(dim=-1)
        if self.training:
            scores = (scores + self.noise[kind].to(scores)) / self.tau
        likely, chosen = scores.softmax(dim=-1).max(dim=-1)
        weights = 1 - likely.detach() + likely if self.training else torch.ones_like(likely)
        return list(zip(chosen.tolist(), weights.unbind(), strict=True))
