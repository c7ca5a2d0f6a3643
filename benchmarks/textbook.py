"""The search step of the published code: what the benchmarks are held against."""

import torch
from torch import Tensor

from nas.bilevel.gradients import Learner
from nas.bilevel.second_order import Batch


class Textbook(Learner):
    """A learner that computes all gradients in both halves of a step, on contiguous images; its supernet is to be the
    reference engine's, in contiguous memory."""

    def differentiate_alphas(self, train: Batch, valid: Batch) -> None:
        """Sets all gradients of the held-out batch."""
        self.differentiate_weights(valid)

    def differentiate_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """Sets all gradients: the batch's (loss, logits)."""
        images = train[0].contiguous(memory_format=torch.contiguous_format)
        return self.differentiate([*self.weights, *self.alphas], (images, train[1]))
