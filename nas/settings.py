"""Settings of searches and trainings: frozen, strict, each field with a default (the paper's) and a sentence.

Presets are named sets of changes to the defaults; an option of the command line changes a preset.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass

from nas.errors import UsageError, nearest

STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


def option(default: Any, about: str, **rules: Any) -> Any:
    """A field: its default, its sentence (shown by ``--help``) and its range."""
    return Field(default=default, description=about, **rules)


@dataclass(frozen=True, config=STRICT)
class SearchSettings:
    """A cell search. Defaults: Liu et al., DARTS, ICLR 2019, §3.1 and Appendix A.1.1."""

    space: str = option("darts", "Search space: a name, names joined by +, or a TOML file.")
    data: str = option("cifar10", "Data: cifar10, cifar100, digits, or a folder with train/CLASS and test/CLASS.")
    seed: int = option(0, "Seed of everything random.", ge=0, lt=2**31)
    order: Literal[1, 2] = option(1, "1: first-order alpha gradient; 2: through one unrolled weight step.")
    channels: int = option(16, "Channels C of the first cells.", ge=2, le=4096)
    cells: int = option(8, "Number of cells L.", ge=1, le=200)
    epochs: int = option(50, "Passes over the weights' half of the training images.", ge=1)
    batch: int = option(64, "Images a step, for the weights and again for the alphas.", ge=2)
    limit: int | None = option(None, "Use at most so many training images.", ge=4)
    lr: float = option(0.025, "First learning rate of the weights.", gt=0)
    lr_min: float = option(0.001, "Last learning rate of the weights (cosine).", ge=0)
    momentum: float = option(0.9, "Momentum of the weights' SGD.", ge=0, lt=1)
    weight_decay: float = option(3e-4, "Weight decay of the weights.", ge=0)
    clip: float = option(5.0, "Largest norm of the weights' gradient.", gt=0)
    alpha_lr: float = option(3e-4, "Learning rate of the alphas' Adam.", gt=0)
    alpha_beta1: float = option(0.5, "First moment's decay of the alphas' Adam.", ge=0, lt=1)
    alpha_beta2: float = option(0.999, "Second moment's decay of the alphas' Adam.", ge=0, lt=1)
    alpha_weight_decay: float = option(1e-3, "Weight decay of the alphas.", ge=0)
    alphas_from: int = option(0, "First epoch in which the alphas learn.", ge=0)
    engine: Literal["merged", "reference"] = option("merged", "merged: fast; reference: one module per operation.")
    partial: int = option(1, "K of PC-DARTS: operations see 1/K of the channels. Brings its own batch and rates.", ge=1)
    sampler: Literal["all", "gdas"] = option(
        "all", "all operations, or gdas: one of each edge, drawn anew; the engine does not matter."
    )
    tau: float = option(10.0, "First temperature of gdas' draws.", gt=0)
    tau_min: float = option(0.1, "Last temperature of gdas' draws (linear).", gt=0)
    recompute: bool = option(
        False, "Keep only the cells' inputs and compute the rest again in the backward pass: less memory, slower."
    )
    cutout: bool = option(False, "Mask a square of half the side in each training image.")
    shuffle_labels: bool = option(False, "Control: give every image a random label; nothing can be learnt.")
    image_size: int | None = option(None, "Side in pixels of an image folder's images.", ge=8, le=1024)
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: mixed precision.")

    def __post_init__(self) -> None:
        if self.alphas_from >= self.epochs:
            raise ValueError(
                f"--alphas-from {self.alphas_from}: in --epochs {self.epochs} the alphas would never learn"
            )
        if self.partial > 1 and (self.channels % self.partial or self.channels < 2 * self.partial):
            raise ValueError(
                f"--partial {self.partial}: --channels {self.channels} must be a multiple of it, at least its double"
            )
        if self.sampler == "gdas" and self.order == 2:
            raise ValueError("--sampler gdas and --order 2 do not go together: gdas is first order")
        if self.sampler == "gdas" and self.partial > 1:
            raise ValueError(f"--sampler gdas and --partial {self.partial} do not go together: choose one")


@dataclass(frozen=True, config=STRICT)
class TrainSettings:
    """Training of one network. Defaults: DARTS' recipe for CIFAR-10 (ICLR 2019, §3.2 and Appendix A.2.1)."""

    data: str = option("cifar10", "Data: cifar10, cifar100, digits, or a folder with train/CLASS and test/CLASS.")
    seed: int = option(0, "Seed of everything random.", ge=0, lt=2**31)
    epochs: int = option(600, "Passes over the training images.", ge=1)
    batch: int = option(96, "Images a step.", ge=2)
    limit: int | None = option(None, "Use at most so many training images.", ge=4)
    validation: int = option(0, "Hold out so many training images, to choose between cells or recipes.", ge=0)
    schedule: Literal["cosine", "one-cycle"] = option("cosine", "Course of the learning rate.")
    lr: float = option(0.025, "Highest learning rate.", gt=0)
    lr_min: float = option(0.0, "Last learning rate.", ge=0)
    warmup_epochs: float = option(0.0, "Epochs in which the learning rate rises linearly to its highest.", ge=0)
    momentum: float = option(0.9, "Momentum of SGD.", ge=0, lt=1)
    nesterov: bool = option(False, "Nesterov's form of momentum.")
    weight_decay: float = option(3e-4, "Weight decay.", ge=0)
    clip: float = option(5.0, "Largest norm of the gradient.", gt=0)
    auxiliary: float = option(0.4, "Weight of the auxiliary head's loss; 0: no such head.", ge=0)
    cutout: bool = option(True, "Mask a square of half the side in each training image.")
    drop_path: float = option(0.2, "Probability of dropping a path at the end; rises linearly from 0.", ge=0, lt=1)
    label_smoothing: float = option(0.0, "Share of the label spread over all classes.", ge=0, lt=1)
    image_size: int | None = option(None, "Side in pixels of an image folder's images.", ge=8, le=1024)
    precision: Literal["fp32", "bf16"] = option("fp32", "bf16: mixed precision.")


SEARCH_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "quick": {"channels": 8, "cells": 3, "epochs": 6, "batch": 32, "limit": 4000, "alpha_lr": 2e-2, "lr": 0.05},
}
"""``quick`` fits two CPU cores and minutes; its alphas learn faster because they take far fewer steps."""

PARTIAL_PRESETS: dict[str, dict[str, Any]] = {
    **SEARCH_PRESETS,
    "paper": {"batch": 256, "lr": 0.1, "lr_min": 0.0, "alpha_lr": 6e-4, "alphas_from": 15},
}
"""The same with partial channels: ``paper`` is Xu et al., PC-DARTS, ICLR 2020, §4.2."""

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
}
SIZES: dict[str, dict[str, int]] = {"paper": {"channels": 36, "cells": 20}, "quick": {"channels": 12, "cells": 4}}
"""The found network's size under each preset."""

Settings = TypeVar("Settings")


def resolve(
    kind: type[Settings], presets: Mapping[str, Mapping[str, Any]], preset: str, *changes: Mapping[str, Any]
) -> Settings:
    """Settings of a preset with changes in order (a file's, then the command line's); None changes nothing.

    Raises:
        UsageError: unknown preset or field, a value of the wrong type or out of range.
    """
    if preset not in presets:
        raise UsageError(f'--preset "{preset}": {nearest(preset, list(presets))}')
    merged = dict(presets[preset])
    for change in changes:
        merged |= {name: value for name, value in change.items() if value is not None}
    return make(kind, merged)


def resolve_search(preset: str, *changes: Mapping[str, Any]) -> SearchSettings:
    """:func:`resolve` for a search, whose presets depend on whether channels are partial."""
    settings = resolve(SearchSettings, SEARCH_PRESETS, preset, *changes)
    return resolve(SearchSettings, PARTIAL_PRESETS, preset, *changes) if settings.partial > 1 else settings


def make(kind: type[Settings], values: Mapping[str, Any], where: str = "settings") -> Settings:
    """Settings from plain values.

    Raises:
        UsageError: unknown field, a value of the wrong type or out of range.
    """
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f'{where}: unknown field "{unknown[0]}": {nearest(unknown[0], known)}')
    try:
        return kind(**values)
    except ValidationError as error:
        first = error.errors()[0]
        if not first["loc"]:  # of several fields together
            raise UsageError(f"{where}: {first['ctx']['error']}") from None
        name = str(first["loc"][0])
        rule = first["msg"].replace("Input should be", "it must be")
        raise UsageError(f"{where}: {name} = {values.get(name)!r} (--{name.replace('_', '-')}): {rule}") from None


def plain(settings: SearchSettings | TrainSettings) -> dict[str, Any]:
    """The settings as JSON values."""
    return asdict(settings)


def recipe_hash(settings: SearchSettings | TrainSettings) -> str:
    """Eight hex digits that name a recipe: every field but the seed."""
    values = {name: value for name, value in plain(settings).items() if name != "seed"}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
