"""Sampled paths: one operation of each edge is drawn and runs, the others do not (Dong and Yang, GDAS, CVPR 2019)."""

from typing import Any, cast

from torch import Tensor

from nas.cells.supernet import MixedFanOut

Path = tuple[int, Tensor]
"""Of one edge: the drawn operation, known to the host, and its weight, a scalar."""


class SampledFanOut(MixedFanOut):
    """MixedFanOut's modules; in the place of a row of mixing weights an edge has a :data:`Path`."""

    def mix(self, node: int, state: Tensor, weights: Any) -> Tensor:
        """weight · o(state) of the drawn operation."""
        chosen, weight = weights
        return cast(Tensor, weight * self.operations(node)[chosen](state))
