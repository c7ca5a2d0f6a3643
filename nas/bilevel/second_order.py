"""The alphas' gradient through one unrolled step of the weights (Liu et al., DARTS, ICLR 2019, Eq. 6–8)."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor, nn, optim

from nas.cells.recompute import noise_rewinder
from nas.settings import SearchSettings
from nas.train.process_group import averaged

Batch = tuple[Tensor, Tensor]


class Bilevel(Protocol):
    """What is needed of a learner: its parameters, its loss and the weights' optimiser."""

    @property
    def supernet(self) -> nn.Module: ...

    weights: list[nn.Parameter]
    alphas: list[nn.Parameter]
    settings: SearchSettings
    weight_optimizer: optim.SGD

    def loss(self, batch: Batch) -> tuple[Tensor, Tensor]: ...


def unrolled_gradient(learner: Bilevel, train: Batch, valid: Batch, scale: float = 1e-2) -> list[Tensor]:
    """∇α L_val(w − ξ·step(w, α), α), ξ the weights' current learning rate, momentum and decay included (Eq. 7)."""
    weights, rate = learner.weights, learner.weight_optimizer.param_groups[0]["lr"]
    before = [weight.detach().clone() for weight in weights]
    rewind = noise_rewinder(learner.supernet)  # all passes see the same draws
    directions = _direction(learner, train)
    rewind()
    with torch.no_grad():
        for weight, direction in zip(weights, directions, strict=True):
            weight.sub_(rate * direction)
    gradients = _gradients(learner.loss(valid)[0], [*learner.alphas, *weights])
    direct, vector = gradients[: len(learner.alphas)], gradients[len(learner.alphas) :]
    _set(weights, before)
    rewind()
    implicit = hessian_vector(learner, train, vector, scale)
    return [first - rate * second for first, second in zip(direct, implicit, strict=True)]


def hessian_vector(learner: Bilevel, train: Batch, vector: Sequence[Tensor], scale: float = 1e-2) -> list[Tensor]:
    """∇²_{α,w} L_train · v ≈ (∇α L(w + εv) − ∇α L(w − εv)) / 2ε with ε = scale / ‖v‖ (Eq. 8)."""
    epsilon = scale / float(torch.stack([part.norm() for part in vector]).norm())
    before = [weight.detach().clone() for weight in learner.weights]
    sides, rewind = [], noise_rewinder(learner.supernet)
    for sign in (1, -1):
        rewind()
        _set(learner.weights, [base + sign * epsilon * part for base, part in zip(before, vector, strict=True)])
        sides.append(_gradients(learner.loss(train)[0], learner.alphas))
    _set(learner.weights, before)
    return [(plus - minus) / (2 * epsilon) for plus, minus in zip(*sides, strict=True)]


def _direction(learner: Bilevel, train: Batch) -> list[Tensor]:
    """What SGD would subtract, before the learning rate: momentum · buffer + gradient + decay · weight."""
    settings, directions = learner.settings, []
    for weight, gradient in zip(learner.weights, _gradients(learner.loss(train)[0], learner.weights), strict=True):
        buffer = learner.weight_optimizer.state[weight].get("momentum_buffer")
        moment = 0 if buffer is None else settings.momentum * buffer
        directions.append(moment + gradient + settings.weight_decay * weight.detach())
    return directions


def _gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gradients; zeros for what the loss does not depend on (a network of reduction cells alone has no normal cell)."""
    return averaged(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


@torch.no_grad()
def _set(parameters: Sequence[nn.Parameter], values: Sequence[Tensor]) -> None:
    for parameter, value in zip(parameters, values, strict=True):
        parameter.copy_(value)
