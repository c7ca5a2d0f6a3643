"""A step as a CUDA graph, recorded once and replayed: thousands of kernel launches become one call of the host's.

Shapes are static and nothing in a step makes the host wait for the device.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

WARM_UPS = 3


class Recorded:
    """A function of tensors as a CUDA graph. Its results are in the same memory each time.

    Args:
        function: takes and returns tensors of fixed shapes.
        inputs: examples.
        changed: tensors that the function changes besides, by name; recording leaves them as they are, those that only
            come to be with the first call at 0.
    """

    def __init__(
        self,
        function: Callable[..., tuple[Tensor, Tensor]],
        inputs: Sequence[Tensor],
        changed: Callable[[], dict[str, Tensor]],
    ) -> None:
        self.inputs = [each.clone() for each in inputs]
        before = {name: value.detach().clone() for name, value in changed().items()}
        beside = torch.cuda.Stream()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(WARM_UPS):
                function(*self.inputs)
        torch.cuda.current_stream().wait_stream(beside)
        restore(changed(), before)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.outputs = function(*self.inputs)

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
        return self.outputs


@torch.no_grad()
def restore(changed: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    """Puts back values in place."""
    for name, value in changed.items():
        value.copy_(before[name]) if name in before else value.zero_()
