"""A step as a CUDA graph, recorded once and replayed: thousands of kernel launches become one call of the host's.

Shapes are static and nothing in a step makes the host wait for the device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

WARM_UPS = 3
Results = tuple[Tensor, Tensor]


class Graph(Protocol):
    """What records the work of a function, to do it again in the same memory."""

    def warm_up(self, function: Callable[[], Results]) -> None:
        """Calls it before it is recorded, so that what is built once is there."""

    def record(self, function: Callable[[], Results]) -> Results:
        """The results' memory."""

    def replay(self) -> None:
        """Does the recorded work again."""


class CudaGraph:
    """On a GPU. Its memory is its own, and free again once it is gone."""

    def __init__(self) -> None:
        self.graph = torch.cuda.CUDAGraph()

    def warm_up(self, function: Callable[[], Results]) -> None:
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                function()
        torch.cuda.current_stream().wait_stream(beside)

    def record(self, function: Callable[[], Results]) -> Results:
        with torch.cuda.graph(self.graph):
            return function()

    def replay(self) -> None:
        self.graph.replay()


class Recorded:
    """A function of tensors as a graph. Its results are in the same memory each time.

    The gradients that it sets are in the graph's memory too, and two graphs have two such memories. What reads them,
    an optimiser's step, therefore belongs inside of the function.

    Args:
        function: takes and returns tensors of fixed shapes.
        inputs: examples.
        changed: tensors that the function changes besides, by name; recording leaves them as they are, those that only
            come to be with the first call at 0.
        graph: what records it; None: a CUDA graph.
    """

    def __init__(
        self,
        function: Callable[..., Results],
        inputs: Sequence[Tensor],
        changed: Callable[[], Mapping[str, Tensor]],
        graph: Graph | None = None,
    ) -> None:
        self.inputs = [each.clone() for each in inputs]
        self.graph = graph or CudaGraph()
        before = copies(changed())
        self.graph.warm_up(lambda: function(*self.inputs))
        restore(changed(), before)
        self.outputs = self.graph.record(lambda: function(*self.inputs))

    def __call__(self, *inputs: Tensor) -> Results:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.outputs


def copies(changed: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What :func:`restore` puts back."""
    return {name: value.detach().clone() for name, value in changed.items()}


@torch.no_grad()
def restore(changed: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> None:
    """Puts back values in place; what was not there before becomes 0."""
    for name, value in changed.items():
        value.copy_(before[name]) if name in before else value.zero_()
