"""The two gradients of a DARTS step (Liu et al., ICLR 2019, §2.3): weights on training images, alphas on held-out ones.

First order is one function called twice; second order is :mod:`nas.bilevel.second_order`.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn, optim

from nas.bilevel.second_order import Batch, unrolled_gradient
from nas.settings import SearchSettings

Loss = Callable[[Batch], tuple[Tensor, Tensor]]
"""The network on a batch of images and labels: (mean cross-entropy, a scalar; logits)."""


class Learner:
    """A supernet's two parameter sets with their optimisers.

    Args:
        weights, alphas: parameters.
        loss: of a batch, under the parameters' current values.
        settings: learning rates and so on.
    """

    def __init__(
        self, weights: Sequence[nn.Parameter], alphas: Sequence[nn.Parameter], loss: Loss, settings: SearchSettings
    ) -> None:
        self.weights, self.alphas, self.loss, self.settings = list(weights), list(alphas), loss, settings
        self.weight_optimizer = optim.SGD(
            self.weights, lr=settings.lr, momentum=settings.momentum, weight_decay=settings.weight_decay
        )
        self.alpha_optimizer = optim.Adam(
            self.alphas,
            lr=settings.alpha_lr,
            betas=(settings.alpha_beta1, settings.alpha_beta2),
            weight_decay=settings.alpha_weight_decay,
            capturable=self.alphas[0].is_cuda,
        )

    def step_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One SGD step on a training batch: its (loss, logits)."""
        loss, logits = self.differentiate_weights(train)
        self.update_weights()
        return loss, logits

    def differentiate_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """The first half of :meth:`step_weights`: the gradient. No gradient of the alphas is computed."""
        return self.differentiate(self.weights, self.alphas, train)

    def update_weights(self) -> None:
        """The second half: the update."""
        nn.utils.clip_grad_norm_(self.weights, self.settings.clip)
        self.weight_optimizer.step()

    def step_alphas(self, train: Batch, valid: Batch) -> None:
        """One Adam step on a held-out batch; in first order no gradient of the weights is computed."""
        if self.settings.order == 1:
            self.differentiate(self.alphas, self.weights, valid)
        else:
            for alpha, gradient in zip(self.alphas, unrolled_gradient(self, train, valid), strict=True):
                alpha.grad = gradient
        self.alpha_optimizer.step()

    def differentiate(
        self, learning: Sequence[nn.Parameter], fixed: Sequence[nn.Parameter], batch: Batch
    ) -> tuple[Tensor, Tensor]:
        """Sets the gradients of those that learn, and of no others: the batch's (loss, logits)."""
        for parameter in fixed:
            parameter.requires_grad_(False)
        for parameter in learning:
            parameter.requires_grad_(True)
            parameter.grad = None
        loss, logits = self.loss(batch)
        loss.backward()
        for parameter in fixed:
            parameter.requires_grad_(True)
        return loss.detach(), logits.detach()
