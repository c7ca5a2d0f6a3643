"""Presets: published and quick recipes, and settings made of a preset and changes."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from nas.errors import UsageError, nearest
from nas.methods import METHODS
from nas.settings import SearchSettings, Settings, make, numbers

SEARCH_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {
        "channels": 8,
        "cells": 3,
        "epochs": 6,
        "batch": 32,
        "limit": 4000,
        "alpha_lr": 2e-2,
        "lr": 0.05,
        "eigenvalue": 0,
    },
}
"""``quick`` fits two CPU cores and minutes; its alphas learn faster because they take far fewer steps."""

IMAGENET: dict[str, Any] = {"crop": "resized", "cutout": False, "drop_path": 0.0, "auxiliary": 0.0, "clip": 0.0}
"""Common to the recipes for image folders."""

TRAIN_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {
        "epochs": 4,
        "batch": 64,
        "schedule": "one-cycle",
        "lr": 0.1,
        "nesterov": True,
        "weight_decay": 5e-4,
        "auxiliary": 0.0,
        "cutout": False,
        "drop_path": 0.0,
        "label_smoothing": 0.1,
    },
    # a fifth of the paper's epochs; chosen on runs of 3 to 36 epochs (benchmarks/results/2026-11-21-recipes-cpu.md)
    "fast": {
        "epochs": 120,
        "batch": 64,
        "schedule": "one-cycle",
        "lr": 0.2,
        "nesterov": True,
        "weight_decay": 5e-4,
        "decayed": "weights",
        "ema": 0.99,
        "cutout": False,
        "drop_path": 0.0,
        "label_smoothing": 0.1,
    },
    # Liu et al., ICLR 2019, §3.2 and Appendix A.2.2; label smoothing, clipping and jitter from the published code,
    # which turns hues too, by up to 0.2
    "imagenet-darts": {
        **IMAGENET,
        "epochs": 250,
        "batch": 128,
        "schedule": "exponential",
        "lr": 0.1,
        "lr_decay": 0.97,
        "weight_decay": 3e-5,
        "auxiliary": 0.4,
        "clip": 5.0,
        "jitter": 0.4,
        "label_smoothing": 0.1,
    },
    # Sandler et al., CVPR 2018, §6.1. Its batch of 96 is one of 16 asynchronous GPUs'. Not in the paper: the number of
    # epochs (here 300, a guess), RMSProp's epsilon (recipe.py), and what decays (as TensorFlow-slim: dense kernels)
    "imagenet-mobilenet_v2": {
        **IMAGENET,
        "epochs": 300,
        "batch": 96,
        "optimizer": "rmsprop",
        "schedule": "exponential",
        "lr": 0.045,
        "lr_decay": 0.98,
        "weight_decay": 4e-5,
        "decayed": "dense",
    },
    # Zhou et al., ECCV 2020, §4.1. The log of the published 74.0 % has lr 0.1, decay 1e-4 and 3 epochs of warm-up
    # instead; the label smoothing is the log's, and not certain for the paper. Its colour jitter is left out, as its
    # strength is not certain
    "imagenet-mobilenext": {
        **IMAGENET,
        "epochs": 200,
        "batch": 256,
        "lr": 0.05,
        "weight_decay": 4e-5,
        "label_smoothing": 0.1,
    },
    # Li et al., ICCV 2019; 150 epochs in the published command, 300 in the list beside it; momentum not certain
    "imagenet-hbonet": {**IMAGENET, "epochs": 150, "batch": 256, "lr": 0.05, "weight_decay": 4e-5},
    # Yang et al., CVPRW 2021: the published command, log (8 GPUs × 256 images) and script (optimiser "nag")
    "imagenet-asymmnet": {
        **IMAGENET,
        "epochs": 360,
        "batch": 2048,
        "lr": 2.6,
        "warmup_epochs": 5.0,
        "nesterov": True,
        "weight_decay": 3e-5,
        "decayed": "weights",
        "label_smoothing": 0.1,
    },
}
PAPER_SIZE, IMAGENET_SIZE = {"channels": 36, "cells": 20}, {"channels": 48, "cells": 14}
SIZES: dict[str, dict[str, int]] = {
    "quick": {"channels": 12, "cells": 4},
    **{name: IMAGENET_SIZE if name.startswith("imagenet") else PAPER_SIZE for name in TRAIN_PRESETS if name != "quick"},
}
"""The found network's size under each preset."""
OWN_CELLS = {"nasbench201": 15}
"""Cells of a search under the preset ``paper``, in spaces that are not searched in DARTS' 8."""


def check_preset(preset: str, presets: Mapping[str, object]) -> None:
    """Raises UsageError for an unknown one."""
    if preset not in presets:
        raise UsageError(f'--preset "{preset}": {nearest(preset, list(presets))}')


def final_size(preset: str, skeleton: str) -> tuple[int, int]:
    """Channels and cells of a found network under a preset; NAS-Bench-201's (ICLR 2020, §2.1) has 16 and 3 · 5.

    Raises:
        UsageError: an unknown preset.
    """
    check_preset(preset, SIZES)
    if skeleton == "nasbench201":
        return 16, 3 if preset == "quick" else 15
    return SIZES[preset]["channels"], SIZES[preset]["cells"]


def resolve(
    kind: type[Settings], presets: Mapping[str, Mapping[str, Any]], preset: str, *changes: Mapping[str, Any]
) -> Settings:
    """Settings of a preset with changes in order (a file's, then the command line's); None changes nothing.

    Raises:
        UsageError: unknown preset or field, a value of the wrong type or out of range.
    """
    check_preset(preset, presets)
    merged = dict(presets[preset])
    for change in changes:
        merged |= {name: value for name, value in change.items() if value is not None}
    return make(kind, merged)


def resolve_search(preset: str, *changes: Mapping[str, Any]) -> SearchSettings:
    """:func:`resolve` for a search, whose method stands below its preset; partial channels are PC-DARTS'."""
    given = {name: value for change in changes for name, value in change.items() if value is not None}
    method = given.get("method", "pc-darts" if given.get("partial", 1) != 1 else "darts")
    if method not in METHODS:
        raise UsageError(f'--method "{method}": {nearest(method, list(METHODS))}')
    parts = {name: value for name, value in METHODS[method].items() if name != "warmup"}
    if cells := OWN_CELLS.get(given.get("space", "").partition("+")[0]):
        parts["cells"] = cells
    if {"max_madds", "max_params"} & set(given):
        parts = {**parts, "select": "budget"}
    presets = {name: {**parts, **preset, "method": method} for name, preset in SEARCH_PRESETS.items()}
    settings = resolve(SearchSettings, presets, preset, given)
    length, share = settings.epochs // (len(numbers(settings.keep)) + 1), float(METHODS[method].get("warmup", 0.0))
    warmup = round(share * length) if share == 1 else min(round(share * length), length - 1)
    return settings if "alphas_from" in given else make(SearchSettings, {**asdict(settings), "alphas_from": warmup})
