"""Scores of an untrained network that take one pass: they tell a broken network from a sound one, and no more."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation

ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, activation.Hardswish, nn.Mish, nn.Softplus)


@torch.no_grad()
def naswot(network: nn.Module, images: Tensor) -> float:
    """log |det K|, K_ij the places in which images i and j have the same code (Mellor et al., ICML 2021).

    A code is here the signs of all batch norms' outputs, not of the ReLUs' inputs: it is there whatever the activation
    is, and in a linear bottleneck too.

    Args:
        images: (N, C, H, W) normalised.
    """
    kernel = torch.zeros(len(images), len(images), dtype=torch.float64, device=images.device)

    def add(module: nn.Module, inputs: Any, output: Tensor) -> None:
        signs = (output.flatten(1) > 0).to(torch.float32).mul_(2).sub_(1)
        kernel.add_((signs @ signs.T + signs.shape[1]) / 2)

    handles = [each.register_forward_hook(add) for each in network.modules() if isinstance(each, nn.BatchNorm2d)]
    try:
        network.train()(images)
    finally:
        for handle in handles:
            handle.remove()
    return float(torch.linalg.slogdet(kernel)[1].clamp_min(-1e6))  # two images of one code: −∞


def synflow(network: nn.Module, shape: tuple[int, int, int]) -> float:
    """log Σ |w · ∂R/∂w| over convolutions and linear layers (Tanaka et al., SynFlow, NeurIPS 2020).

    R is the sum of the logits of an image of ones, all weights made positive, batch norms without statistics. All
    signals are then positive, so that activations are left out: a ReLU would do nothing, and a ReLU6 end the flow.

    Args:
        network: untrained; it is in double precision, with positive weights and without activations afterwards.
    """
    network = network.double().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    weights = [each.weight for each in network.modules() if isinstance(each, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.abs_()
    with linear(network):
        flow = network(torch.ones(1, *shape, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(flow, weights, allow_unused=True, materialize_grads=True)
    pairs = zip(weights, gradients, strict=True)
    score = sum(float((weight.detach() * gradient).abs().sum()) for weight, gradient in pairs)
    return math.log(max(score, 1e-300))  # nothing flows


@contextmanager
def linear(network: nn.Module) -> Iterator[None]:
    """A context in which activations hand on what they get."""
    handles = [
        each.register_forward_hook(lambda module, inputs, output: inputs[0])
        for each in network.modules()
        if isinstance(each, ACTIVATIONS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
