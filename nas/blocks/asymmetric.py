"""The asymmetrical bottleneck of AsymmNet, and the pruned one it is compared with."""

from fractions import Fraction
from math import ceil, floor

import torch
from torch import Tensor, nn

from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.layers import Activation, Norm, check_at_least_one, conv_bn
from nas.blocks.segment import ACTIVATIONS, ModuleStep, Piece, leaves, segments_of
from nas.blocks.squeeze_excite import Squeeze


class Reuse(nn.Module):
    """x → [x, …, x, computed(x), x, …, x], ``before`` and ``after`` copies: features used again instead of computed."""

    def __init__(self, computed: nn.Module, before: int, after: int) -> None:
        super().__init__()
        self.computed = computed
        self.before = before
        self.after = after

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) → (N, D + (before + after)·C, H, W)."""
        return self.surround(self.computed(x), x)

    def surround(self, computed: Tensor, x: Tensor) -> Tensor:
        """The computed channels between the copies of the input."""
        return torch.cat([x] * self.before + [computed] + [x] * self.after, dim=1)

    def pieces(self) -> tuple[Piece, ...] | None:
        """The segments of the computed channels and the copies around them; None: they are no segments."""
        *layers, activation = leaves(self.computed)
        segments = segments_of(*layers)
        if segments is None or type(activation) not in ACTIVATIONS:
            return None
        return (*segments, ModuleStep(type(activation)()), self.surround)


def reused(c_in: int, expanded: int, rate: Fraction, pruned: bool) -> tuple[int, int, int]:
    """How the expansion is made: (computed channels, copies of the input before them, copies after them)."""
    if expanded == c_in and (pruned or rate == 0):
        return c_in, 0, 0
    if pruned:
        return expanded - c_in, 1, 0
    return expanded - floor(rate * c_in), ceil(rate), floor(rate)


class Asymmetric(InvertedResidual):
    """An inverted residual that computes ``expanded`` − r·c_in channels and takes 2r·c_in more from its input.

    Yang et al., AsymmNet, CVPR Workshops 2021, Fig. 2 and Eq. 4: 1×1 to (t−r)·c_in, BN, act; concatenated with ⌈r⌉
    copies of the input before and ⌊r⌋ after → depthwise on (t+r)·c_in channels → [squeeze] → 1×1, BN; plus the input.
    r = 0 is the inverted residual. (N, c_in, H, W) → (N, c_out, ⌈H/s⌉, ⌈W/s⌉).

    Args:
        expanded: t·c_in.
        rate: the asymmetry rate r, in half-steps, below t.
        pruned: the paper's control (§4.1): one copy of the input stands for c_in channels of the expansion, which keeps
            its width: 1×1 to (t−1)·c_in, depthwise on t·c_in. The rate is not used.
        kernel, norm, activation, identity, squeeze, linear: as in InvertedResidual; ``squeeze`` gets the widened map.

    Raises:
        ValueError: the rate is not a half-step in 0 ≤ r < t, or pruned and t < 1.
    """

    def __init__(
        self,
        c_in: int,
        c_out: int,
        *,
        stride: int,
        expanded: int,
        rate: Fraction = Fraction(1),
        pruned: bool = False,
        kernel: int = 3,
        norm: Norm = nn.BatchNorm2d,
        activation: Activation = nn.ReLU6,
        identity: Fraction = Fraction(1),
        squeeze: Squeeze | None = None,
        linear: bool = True,
    ) -> None:
        check_at_least_one(c_in=c_in, c_out=c_out, expanded=expanded)
        if pruned and expanded < c_in:
            raise ValueError(f"expanded={expanded}: a pruned bottleneck must not be narrower than its {c_in} inputs")
        if not pruned and (rate < 0 or rate.denominator > 2 or rate * c_in >= expanded):
            raise ValueError(f"r={float(rate):g}: it must be a half-step from 0 to below t={expanded / c_in:g}")
        computed, before, after = reused(c_in, expanded, rate, pruned)
        copies = before + after
        make = Reuse(conv_bn(c_in, computed, norm=norm, activation=activation), before, after) if copies else None
        super().__init__(
            c_in,
            c_out,
            stride=stride,
            hidden=computed + copies * c_in,
            kernel=kernel,
            norm=norm,
            activation=activation,
            identity=identity,
            squeeze=squeeze,
            linear=linear,
            expand=make,
        )

    terms = InvertedResidual.terms
