"""Whole steps of a search on random images, on any device, recorded or not."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Learner
from nas.bilevel.loop import Step
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Dataset, Split
from nas.moment import Moment
from nas.presets import resolve_search
from nas.settings import SearchSettings
from nas.space import CellSpace
from tests.replay import ReplayGraph

SPACE = CellSpace("small", "", 2, {"none": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}})
"""Without max pooling, whose backward pass on a GPU adds in any order."""
COURSE = [Moment(0, epoch, 5, step) for step, epoch in enumerate((1, 2, 0, 3))]
"""The alphas learn, learn, do not learn, learn."""


def settings_of(method: str = "darts", **changes: object) -> SearchSettings:
    """Very small; the alphas learn from the second epoch."""
    size: dict[str, object] = {"channels": 4, "cells": 3, "batch": 4, "epochs": 5, "alphas_from": 1}
    size["partial"] = 2 if method == "pc-darts" else None
    return resolve_search("paper", {"method": method, **size, **changes})


def random_dataset(device: str = "cpu", images: int = 48) -> Dataset:
    stream = torch.Generator().manual_seed(0)

    def split() -> Split:
        pixels = torch.randint(256, (images, 3, 16, 16), generator=stream, dtype=torch.uint8)
        return Split(pixels.to(device), torch.randint(10, (images,), generator=stream).to(device))

    classes = tuple(map(str, range(10)))
    return Dataset("random", classes, split(), split(), (0.5,) * 3, (0.3,) * 3, padding=2)


def step_of(
    settings: SearchSettings,
    device: str = "cpu",
    space: CellSpace = SPACE,
    backend: str = "library",
    dtype: torch.dtype = torch.float32,
) -> Step:
    """A step as a search makes it, of parameters and images of a type."""
    supernet = build_supernet(settings, space, 10, backend).to(device, dtype).to(memory_format=torch.channels_last)
    dataset = random_dataset(device)
    plain = Augmentation.of(dataset, cutout=True, device=device)
    augmentation = replace(plain, mean=plain.mean.to(dtype), std=plain.std.to(dtype))
    splits = enumerate((dataset.train, dataset.test))
    streams = [Stream(split, augmentation, settings.batch, seed) for seed, split in splits]
    return Step(Learner(supernet, settings, device), *streams)


def as_on_a_gpu(step: Step, *, recorded: bool) -> Step:
    """The step with its optimisers as they are on a GPU; if ``recorded``, recorded as there."""
    for optimizer in (step.learner.weight_optimizer, step.learner.alpha_optimizer):
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(group["lr"])
            group.update({"capturable": True} if "capturable" in group else {"fused": True, "foreach": False})
    step.recordable = recorded
    step.graph = lambda: ReplayGraph(step.changed)
    return step


def distance(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> float:
    """Of all tensors together, relative."""
    assert set(found) == set(wanted)
    pairs = [(found[name].detach().double().cpu(), value.detach().double().cpu()) for name, value in wanted.items()]
    difference = sum(float((one - other).square().sum()) for one, other in pairs)
    return float((difference / sum(float(other.square().sum()) for _, other in pairs)) ** 0.5)
