"""What a recipe is made of beside its schedule: the optimiser, what decays, the moving average of the weights."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel

from nas.settings import TrainSettings

RMSPROP_EPSILON = 1e-3
"""The MobileNetV2 paper gives none; TensorFlow-slim's script has 1.0 within the root, other ports 1e-3."""


def make_optimizer(network: nn.Module, settings: TrainSettings) -> optim.Optimizer:
    """The recipe's optimiser over the parameters that learn.

    RMSProp: Tieleman and Hinton, 2012, with momentum, as Sandler et al., MobileNetV2, CVPR 2018, §6.1.
    """
    groups = groups_of(network, settings)
    if settings.optimizer == "rmsprop":
        return optim.RMSprop(
            groups, lr=settings.lr, alpha=settings.square_decay, eps=RMSPROP_EPSILON, momentum=settings.momentum
        )
    return optim.SGD(groups, lr=settings.lr, momentum=settings.momentum, nesterov=settings.nesterov)


def fit_to_device(optimizer: optim.Optimizer) -> bool:
    """Fits an optimiser, new or restored, to its parameters' device; whether that is a GPU.

    There its rates and counters are tensors of the device and one kernel serves all parameters, so that its step can be
    recorded; on a CPU, SGD takes all parameters in one call. A checkpoint has these as the device before had them.
    """
    for group in optimizer.param_groups:
        device, rate = group["params"][0].device, float(group["lr"])
        on_gpu = bool(device.type == "cuda")
        group["lr"] = torch.tensor(rate, device=device) if on_gpu else rate
        sgd = "capturable" not in group
        group.update({"fused": on_gpu, "foreach": not on_gpu} if sgd else {"capturable": on_gpu})
        for state in (optimizer.state.get(parameter, {}) for parameter in group["params"]):
            state |= {name: value.to(device) for name, value in state.items() if name == "step"}
    return on_gpu


def place_gradients(network: nn.Module) -> None:
    """From now on each parameter's gradient lies where it lay in the step before.

    New ones of every backward pass would lie among the maps that it frees, which then make no room for larger ones: a
    CPU's training took a sixth more memory.
    """
    for parameter in filter(lambda each: each.requires_grad, network.parameters()):
        parameter.register_post_accumulate_grad_hook(partial(_place, torch.empty_like(parameter)))


def _place(place: Tensor, parameter: Tensor) -> None:
    if parameter.grad is not None and parameter.grad is not place:
        parameter.grad = place.copy_(parameter.grad)


def groups_of(network: nn.Module, settings: TrainSettings) -> list[dict[str, object]]:
    """The parameters that learn, in those that decay and those that do not."""
    decaying: list[Tensor] = []
    staying: list[Tensor] = []
    for parameter in network.parameters():
        if parameter.requires_grad:
            (decaying if decays(parameter, settings.decayed) else staying).append(parameter)
    groups = ((decaying, settings.weight_decay), (staying, 0.0))
    return [{"params": members, "weight_decay": decay} for members, decay in groups if members]


def decays(parameter: Tensor, which: str) -> bool:
    """Whether weight decay acts on a parameter, known by its shape: biases and batch norms are vectors, and a
    depthwise kernel (C, 1, k, k) has one input channel."""
    return which == "all" or (parameter.dim() > 1 and (which == "weights" or parameter.shape[1] > 1))


def make_average(network: nn.Module, settings: TrainSettings) -> AveragedModel | None:
    """A copy of the network that follows its weights and batch-norm statistics; None where the recipe has none."""
    return AveragedModel(network, use_buffers=True) if settings.ema else None


def share(decay: float, step: int) -> float:
    """How much of its way to the network the average moves after a step: 1 − decay.

    Over the first steps it moves further, 1 − (1 + step) / (10 + step), so that a short training's average does not
    remember its start.
    """
    return 1 - min(decay, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: AveragedModel, network: nn.Module, share: float | Tensor) -> None:
    """Moves the average by a share of its way to the network; batch norms' counters stay.

    Args:
        share: a scalar tensor where the step is recorded, which reads it each time.
    """
    every = zip(tensors_of(average.module), tensors_of(network), strict=True)
    pairs = [(own, given) for own, given in every if own.is_floating_point()]
    averaged, current = [own for own, _ in pairs], [given for _, given in pairs]
    if isinstance(share, Tensor):
        torch._foreach_add_(averaged, torch._foreach_mul(torch._foreach_sub(current, averaged), share))
    else:
        torch._foreach_lerp_(averaged, current, share)


def tensors_of(network: nn.Module) -> Iterator[Tensor]:
    """Parameters and buffers."""
    return chain(network.parameters(), network.buffers())
