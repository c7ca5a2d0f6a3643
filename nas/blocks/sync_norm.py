"""A batch norm over the images of all ranks of a torch.distributed group; on a CPU too, unlike torch's own."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Statistics = tuple[Tensor, Tensor, Tensor]
"""Of a batch: mean (C,), biased variance (C,) and the number of values a channel ()."""


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch statistics are those of all ranks' images, forward and backward.

    A batch norm becomes one by :meth:`share`, in its place, so that who has read a network's batch norms knows.
    """

    @classmethod
    def share(cls, norm: nn.BatchNorm2d) -> None:
        """Makes a batch norm one of these."""
        norm.__class__ = cls

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), this rank's shard → the same shape."""
        if not self.training:
            return super().forward(x)
        statistics = joint_statistics(x)
        self._update(statistics[0], unbiased(statistics))
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, statistics, self.eps)
        return out

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum or 0.0
        self.get_buffer("running_mean").lerp_(mean, momentum)
        self.get_buffer("running_var").lerp_(variance, momentum)
        self.get_buffer("num_batches_tracked").add_(1)


@torch.no_grad()
def joint_statistics(x: Tensor) -> Statistics:
    """Those of all ranks' maps (N, C, H, W), from each rank's own (Chan et al., 1979)."""
    channels, dtype = x.shape[1], torch.promote_types(x.dtype, torch.float32)
    unused = torch.zeros(2, channels, dtype=dtype, device=x.device)
    mean, var = torch.ops.aten.batch_norm_update_stats(x, unused[0], unused[1], 1.0)
    own = torch.cat([mean, var, mean.new_full((1,), x.numel() // channels)])
    every = own.new_empty(dist.get_world_size(), len(own))
    dist.all_gather(list(every), own)
    means, variances, counts = every.split([channels, channels, 1], dim=1)
    count = counts.sum()
    weights = counts / count
    mean = (weights * means).sum(0)
    return mean, (weights * (variances + (means - mean).square())).sum(0), count


def unbiased(statistics: Statistics) -> Tensor:
    """The variance that running statistics move towards, (C,)."""
    _, var, count = statistics
    return var * (count / (count - 1))


def joint_gradients(
    gradient: Tensor, x: Tensor, weight: Tensor | None, statistics: Statistics, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Of (x − mean) / √(var + ε) · weight + bias with respect to x, and this rank's part of the two others' (C,).

    With x̂ the normalised x, n values a channel, g the incoming gradient and sums over all ranks, that of x is
    weight / √(var + ε) · (g − Σg/n − x̂ · Σ(g·x̂)/n) (Ioffe and Szegedy, 2015, §3). The first term is the library's
    gradient under fixed statistics, which also brings this rank's sums.
    """
    mean, var, count = statistics
    invstd = torch.rsqrt(var + eps)
    scale = torch.ones_like(invstd) if weight is None else weight  # CUDA's needs one
    fixed, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
        gradient, x, scale, mean, var, mean, invstd, False, eps, [True, True, True]
    )
    sums = torch.stack([by_bias, by_weight])
    dist.all_reduce(sums)
    shift, slope = sums / count * (invstd * scale)
    slope = slope * invstd
    offset = shift - slope * mean
    by_x = fixed - (slope.view(1, -1, 1, 1) * x + offset.view(1, -1, 1, 1)).to(fixed.dtype)
    return by_x, by_weight, by_bias


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(var + ε) · weight + bias, where mean and variance are functions of all ranks' x."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, statistics: Statistics, eps: float
    ) -> Tensor:
        mean, var, count = statistics
        ctx.save_for_backward(x, weight, mean, var, count)
        ctx.eps = eps
        return F.batch_norm(x, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, *statistics = ctx.saved_tensors
        by_x, by_weight, by_bias = joint_gradients(gradient, x, weight, tuple(statistics), ctx.eps)
        affine = (None, None) if weight is None else (by_weight, by_bias)
        return by_x, *affine, None, None
