"""What a recipe is made of beside its schedule: the optimiser, what decays, the moving average of the weights."""

import torch
from torch import Tensor, nn, optim
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from nas.settings import TrainSettings

Tensors = tuple[Tensor, ...] | list[Tensor]
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
    recorded. A checkpoint has these as the device before had them.
    """
    for group in optimizer.param_groups:
        device, rate = group["params"][0].device, float(group["lr"])
        on_gpu = bool(device.type == "cuda")
        group["lr"] = torch.tensor(rate, device=device) if on_gpu else rate
        group["capturable" if "capturable" in group else "fused"] = on_gpu
        for state in (optimizer.state.get(parameter, {}) for parameter in group["params"]):
            state |= {name: value.to(device) for name, value in state.items() if name == "step"}
    return on_gpu


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


def follow(average: AveragedModel, network: nn.Module, decay: float, step: int) -> None:
    """One step of the exponential moving average.

    Over the first steps it forgets faster, min(decay, (1 + step) / (10 + step)), so that a short training's average
    does not remember its start.
    """
    move = get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))

    def update(averaged: Tensors, current: Tensors, count: Tensor | int) -> None:
        if averaged[0].is_floating_point():  # not the batch norms' counters
            move(averaged, current, count)

    average.multi_avg_fn = update
    average.update_parameters(network)
