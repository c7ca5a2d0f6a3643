"""Learning rate and other courses as functions of progress, so that resuming needs no scheduler's state."""

import math

from torch import Tensor, optim

from nas.settings import TrainSettings


def cosine(progress: float, first: float, last: float) -> float:
    """From ``first`` at 0 to ``last`` at 1 along half a cosine (Loshchilov and Hutter, SGDR, 2017)."""
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


def learning_rate(settings: TrainSettings, epoch: int, part: float) -> float:
    """The rate at ``part`` of the way through an epoch.

    "cosine" and "exponential" change each epoch, as the papers'; "one-cycle" each step: up linearly for 30 % of the
    training, then down linearly (Smith and Topin, 2018).
    """
    now = epoch + part
    if settings.schedule == "one-cycle":
        peak = 0.3 * settings.epochs
        height = now / peak if now < peak else (settings.epochs - now) / (settings.epochs - peak)
        return settings.lr_min + (settings.lr - settings.lr_min) * max(height, 0.01)
    rise = min(1.0, (now + 1e-9) / settings.warmup_epochs) if settings.warmup_epochs else 1.0
    if settings.schedule == "exponential":
        return rise * max(settings.lr_min, settings.lr * settings.lr_decay**epoch)
    return rise * cosine(epoch / settings.epochs, settings.lr, settings.lr_min)


def set_rate(optimizer: optim.Optimizer, rate: float) -> None:
    """Sets the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = assigned(group["lr"], rate)


def assigned(place: float | Tensor, value: float) -> float | Tensor:
    """The value: in the tensor's place, where a recorded step reads it, or itself."""
    return place.fill_(value) if isinstance(place, Tensor) else value
