"""The alphas' gradient through one unrolled step of the weights (Liu et al., DARTS, ICLR 2019, Eq. 6–8)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn, optim

from nas.cells.recompute import noise_rewinder, still
from nas.settings import SearchSettings
from nas.train.process_group import averaged

Batch = tuple[Tensor, Tensor]
Tensors = tuple[Tensor, ...] | list[Tensor]


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
    """∇α L_val(w − ξ·step(w, α), α), ξ the weights' current learning rate, momentum and decay included (Eq. 7).

    The supernet's running statistics see the training batch alone.
    """
    weights, rate = tuple(learner.weights), learner.weight_optimizer.param_groups[0]["lr"]
    before = _copies(weights)
    rewind = noise_rewinder(learner.supernet)  # all passes see the same draws
    steps = torch._foreach_mul(_direction(learner, train), rate)
    rewind()
    _set(weights, torch._foreach_sub(before, steps))
    with still(learner.supernet):
        gradients = _gradients(learner.loss(valid)[0], [*learner.alphas, *weights])
    direct, vector = gradients[: len(learner.alphas)], gradients[len(learner.alphas) :]
    _set(weights, before)
    implicit = hessian_vector(learner, train, vector, scale)
    return [first - rate * second for first, second in zip(direct, implicit, strict=True)]


def hessian_vector(learner: Bilevel, train: Batch, vector: Tensors, scale: float = 1e-2) -> list[Tensor]:
    """∇²_{α,w} L_train · v ≈ (∇α L(w + εv) − ∇α L(w − εv)) / 2ε with ε = scale / ‖v‖ (Eq. 8)."""
    epsilon = scale / torch.stack(torch._foreach_norm(vector)).norm()
    weights, shift = tuple(learner.weights), torch._foreach_mul(vector, epsilon)
    before = _copies(weights)
    sides, rewind = [], noise_rewinder(learner.supernet)
    for moved in (torch._foreach_add(before, shift), torch._foreach_sub(before, shift)):
        rewind()
        _set(weights, moved)
        with constant(weights):
            sides.append(_gradients(learner.loss(train)[0], learner.alphas))
    _set(weights, before)
    return [(plus - minus) / (2 * epsilon) for plus, minus in zip(*sides, strict=True)]


def _direction(learner: Bilevel, train: Batch) -> Tensors:
    """What SGD would subtract, before the learning rate: momentum · buffer + gradient + decay · weight."""
    weights, group = tuple(learner.weights), learner.weight_optimizer.param_groups[0]
    with constant(learner.alphas):
        gradients = _gradients(learner.loss(train)[0], weights)
    buffers = [learner.weight_optimizer.state[weight].get("momentum_buffer") for weight in weights]
    moments = [torch.zeros_like(g) if buffer is None else buffer for g, buffer in zip(gradients, buffers, strict=True)]
    directions = torch._foreach_add(gradients, moments, alpha=group["momentum"])
    return torch._foreach_add(directions, _copies(weights), alpha=group["weight_decay"])


@contextmanager
def constant(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """A context in which no gradient of the parameters is computed."""
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _gradients(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Gradients; zeros for what the loss does not depend on (a network of reduction cells alone has no normal cell)."""
    return averaged(torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True))


@torch.no_grad()
def _copies(parameters: Tensors) -> Tensors:
    return torch._foreach_mul(parameters, 1)


@torch.no_grad()
def _set(parameters: Tensors, values: Tensors) -> None:
    torch._foreach_copy_(parameters, values)
