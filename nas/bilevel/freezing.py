"""Operation-level early stopping (Jiang et al., OLES, NeurIPS 2023).

An operation whose training gradients no longer point where its held-out ones do stops learning, lest it overfit.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.cells.supernet import MixedFanOut, Supernet

WINDOW = 20


class Freezer(nn.Module):
    """Watches the gradients of every operation of every cell; its buffers are its state.

    The published code compares a held-out gradient with the training gradient of the step before; here it is the same
    step's, at the same weights, so that nothing has to be saved between steps.

    Args:
        supernet: whose operations are watched.
        threshold: the mean cosine over :data:`WINDOW` steps below which an operation is frozen for good.
    """

    sums: Tensor
    frozen: Tensor
    steps: Tensor

    def __init__(self, supernet: Supernet, threshold: float) -> None:
        super().__init__()
        fan_outs = [module for module in supernet.modules() if isinstance(module, MixedFanOut)]
        edges = [fan_out.operations(node).values() for fan_out in fan_outs for node in fan_out.rows]
        operations = [list(operation.parameters()) for edge in edges for operation in edge]
        self.operations = [parameters for parameters in operations if parameters]
        self.threshold = threshold
        self.held: list[list[Tensor]] | None = None
        self.register_buffer("sums", torch.zeros(len(self.operations)))
        self.register_buffer("frozen", torch.zeros(len(self.operations), dtype=torch.bool))
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def hold(self) -> None:
        """Keeps the held-out gradients that the parameters have now."""
        self.held = self.gradients()

    def freeze(self) -> None:
        """Compares them with the training gradients, which the parameters have now, and takes those of the frozen."""
        if self.held is not None:
            pairs = zip(self.held, self.gradients(), strict=True)
            self.sums += torch.stack([similarity(valid, train) for valid, train in pairs]).to(self.sums)
            self.steps += 1
            self.held = None
            if self.steps == WINDOW:
                self.frozen |= self.sums / WINDOW < self.threshold
                self.sums.zero_()
                self.steps.zero_()
        for frozen, parameters in zip(self.frozen.tolist(), self.operations, strict=True):
            for parameter in parameters if frozen else ():
                parameter.grad = None

    def gradients(self) -> list[list[Tensor]]:
        """Of each operation's parameters."""
        return [
            [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
            for parameters in self.operations
        ]


def similarity(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Cosine over the output channels, mean over the rest of a kernel and over an operation's kernels; a scalar."""
    pairs = zip(first, second, strict=True)
    return torch.stack([F.cosine_similarity(left, right, dim=0).mean() for left, right in pairs]).mean()
