"""The two gradients of a DARTS step (Liu et al., ICLR 2019, §2.3): weights on training images, alphas on held-out ones.

First order is one function called twice. Second order differentiates the held-out loss through one unrolled step of the
weights (Eq. 6–8), its Hessian-vector product by a central difference.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn, optim

from nas.settings import SearchSettings
from nas.train.schedule import sgd

Batch = tuple[Tensor, Tensor]
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
        self.weight_optimizer = sgd(self.weights, settings)
        self.alpha_optimizer = optim.Adam(
            self.alphas,
            lr=settings.alpha_lr,
            betas=(settings.alpha_beta1, settings.alpha_beta2),
            weight_decay=settings.alpha_weight_decay,
            capturable=self.alphas[0].is_cuda,
        )

    def step_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """One SGD step on a training batch: its (loss, logits). No gradient of the alphas is computed."""
        loss, logits = self.differentiate_weights(train)
        self.update_weights()
        return loss, logits

    def differentiate_weights(self, train: Batch) -> tuple[Tensor, Tensor]:
        """The first half of :meth:`step_weights`: the gradient."""
        return self._learn(self.weights, self.alphas, train)

    def update_weights(self) -> None:
        """The second half: the update."""
        nn.utils.clip_grad_norm_(self.weights, self.settings.clip)
        self.weight_optimizer.step()

    def step_alphas(self, train: Batch, valid: Batch) -> None:
        """One Adam step on a held-out batch; in first order no gradient of the weights is computed."""
        if self.settings.order == 1:
            self._learn(self.alphas, self.weights, valid)
        else:
            for alpha, gradient in zip(self.alphas, self.unrolled_gradient(train, valid), strict=True):
                alpha.grad = gradient
        self.alpha_optimizer.step()

    def _learn(self, learning: list[nn.Parameter], fixed: list[nn.Parameter], batch: Batch) -> tuple[Tensor, Tensor]:
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

    def unrolled_gradient(self, train: Batch, valid: Batch) -> list[Tensor]:
        """∇α L_val(w − ξ·step(w, α), α), ξ the weights' current learning rate, momentum and decay included (Eq. 7)."""
        rate = self.weight_optimizer.param_groups[0]["lr"]
        kept = [weight.detach().clone() for weight in self.weights]
        directions = self._direction(train)
        with torch.no_grad():
            for weight, direction in zip(self.weights, directions, strict=True):
                weight.sub_(rate * direction)
        gradients = gradients_of(self.loss(valid)[0], [*self.alphas, *self.weights])
        direct, vector = gradients[: len(self.alphas)], gradients[len(self.alphas) :]
        self._restore(kept)
        implicit = self.hessian_vector(train, vector)
        return [first - rate * second for first, second in zip(direct, implicit, strict=True)]

    def hessian_vector(self, train: Batch, vector: Sequence[Tensor], scale: float = 1e-2) -> list[Tensor]:
        """∇²_{α,w} L_train · v ≈ (∇α L(w + εv) − ∇α L(w − εv)) / 2ε with ε = scale / ‖v‖ (Eq. 8)."""
        epsilon = scale / float(torch.stack([part.norm() for part in vector]).norm())
        kept = [weight.detach().clone() for weight in self.weights]
        sides = []
        for sign in (1, -1):
            with torch.no_grad():
                for weight, base, part in zip(self.weights, kept, vector, strict=True):
                    weight.copy_(base + sign * epsilon * part)
            sides.append(gradients_of(self.loss(train)[0], self.alphas))
        self._restore(kept)
        return [(plus - minus) / (2 * epsilon) for plus, minus in zip(*sides, strict=True)]

    def _direction(self, train: Batch) -> list[Tensor]:
        """What SGD would subtract, before the learning rate: momentum · buffer + gradient + decay · weight."""
        gradients = gradients_of(self.loss(train)[0], self.weights)
        directions = []
        for weight, gradient in zip(self.weights, gradients, strict=True):
            buffer = self.weight_optimizer.state[weight].get("momentum_buffer")
            moment = 0 if buffer is None else self.settings.momentum * buffer
            directions.append(moment + gradient + self.settings.weight_decay * weight.detach())
        return directions

    def _restore(self, kept: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self.weights, kept, strict=True):
                weight.copy_(value)


def gradients_of(loss: Tensor, parameters: Sequence[nn.Parameter]) -> tuple[Tensor, ...]:
    """Gradients; zeros for what the loss does not depend on (a network of reduction cells alone has no normal cell)."""
    return torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
