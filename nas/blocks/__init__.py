"""Bricks of both branches, and the registry of cell operations. This package imports nothing of ours but itself."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

from nas.blocks import darts, mobile
from nas.blocks.noise import noise

Builder = Callable[..., nn.Module]
"""``build(channels, stride, affine, **settings)``: a module (N, C, H, W) → (N, C, ⌈H/stride⌉, ⌈W/stride⌉)."""

OPS: dict[str, Builder] = {
    "none": darts.none,
    "max_pool_3x3": darts.max_pool_3x3,
    "avg_pool_3x3": darts.avg_pool_3x3,
    "skip_connect": darts.skip_connect,
    "auxiliary_skip": darts.skip_connect,  # DARTS-' own, beside a mixture and never in a cell
    "sep_conv_3x3": darts.sep_conv_3x3,
    "sep_conv_5x5": darts.sep_conv_5x5,
    "sep_conv_7x7": darts.sep_conv_7x7,
    "dil_conv_3x3": darts.dil_conv_3x3,
    "dil_conv_5x5": darts.dil_conv_5x5,
    "avg_pool_3x3_plain": darts.avg_pool_3x3_plain,
    "conv_1x1": darts.conv_1x1,
    "conv_3x3": darts.conv_3x3,
    "conv_7x1_1x7": darts.conv_7x1_1x7,
    "noise": noise,
    "inverted_residual_3x3": mobile.inverted_residual,
    "sandglass_3x3": mobile.sandglass,
    "harmonious_5x5": mobile.harmonious,
    "asymmetric_3x3": mobile.asymmetric,
    "pruned_3x3": mobile.pruned,
}
"""Every operation a cell may use, by name. A user's own are added from the file named by ``--ops``."""


def default_settings(operation: str) -> dict[str, Any]:
    """The settings an operation takes, with their defaults: its builder's keyword-only arguments."""
    parameters = inspect.signature(OPS[operation]).parameters.values()
    return {p.name: p.default for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
