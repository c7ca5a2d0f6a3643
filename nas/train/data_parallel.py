"""A network as a process group trains it: gradients averaged, batch norms and dropout those of the whole batch."""

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from nas.train.process_group import ProcessGroup

Statistics = tuple[Tensor, Tensor, Tensor]
"""Of a batch: mean (C,), biased variance (C,) and the number of values a channel ()."""


def data_parallel(network: nn.Module, group: ProcessGroup) -> nn.Module:
    """The module to train; the network keeps its parameters and buffers, so that saving it stays the same."""
    if group.world_size == 1:
        return network
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SyncBatchNorm(child))
            elif type(child) is nn.Dropout:
                setattr(parent, name, ShardDropout(child, group))
    parallel = DistributedDataParallel(network)
    parallel.broadcast_buffers = False  # they agree; the argument's name depends on torch's version
    return parallel


class SyncBatchNorm(nn.BatchNorm2d):
    """A batch norm over the images of all ranks, forward and backward; on a CPU too, unlike torch's own.

    Args:
        norm: gives its parameters and buffers.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, device="meta")
        self._parameters, self._buffers = norm._parameters, norm._buffers

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), this rank's shard → the same shape."""
        if not self.training:
            return super().forward(x)
        mean, var, count = statistics = self._statistics(x.detach())
        self._update(mean, var * (count / (count - 1)))
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, statistics, self.eps)
        return out

    def _statistics(self, x: Tensor) -> Statistics:
        """Those of all ranks, from each rank's own (Chan et al., 1979)."""
        unused = torch.zeros(2, self.num_features, dtype=self.get_buffer("running_mean").dtype, device=x.device)
        mean, var = torch.ops.aten.batch_norm_update_stats(x, unused[0], unused[1], 1.0)
        own = torch.cat([mean, var, mean.new_tensor([x.numel() // self.num_features])])
        every = own.new_empty(dist.get_world_size(), len(own))
        dist.all_gather(list(every), own)
        means, variances, counts = every.split([self.num_features, self.num_features, 1], dim=1)
        count = counts.sum()
        weights = counts / count
        mean = (weights * means).sum(0)
        return mean, (weights * (variances + (means - mean).square())).sum(0), count

    @torch.no_grad()
    def _update(self, mean: Tensor, unbiased: Tensor) -> None:
        momentum = self.momentum or 0.0
        self.get_buffer("running_mean").lerp_(mean, momentum)
        self.get_buffer("running_var").lerp_(unbiased, momentum)
        self.get_buffer("num_batches_tracked").add_(1)


class _Normalise(torch.autograd.Function):
    """(x − mean) / √(var + ε) · weight + bias, where mean and variance are functions of all ranks' x.

    With x̂ the normalised x, n values a channel, g the incoming gradient and sums over all ranks, the gradient is
    weight / √(var + ε) · (g − Σg/n − x̂ · Σ(g·x̂)/n) (Ioffe and Szegedy, 2015, §3). The first term is the library's
    gradient under fixed statistics, which also brings this rank's sums.
    """

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
        x, weight, mean, var, count = ctx.saved_tensors
        fixed, by_weight, by_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, mean, var, None, None, False, ctx.eps, [True, True, True]
        )
        sums = torch.stack([by_bias, by_weight])
        dist.all_reduce(sums)
        invstd = torch.rsqrt(var + ctx.eps)
        shift, slope = sums / count * (invstd if weight is None else invstd * weight)
        slope = slope * invstd
        offset = shift - slope * mean
        by_x = fixed - (slope.view(1, -1, 1, 1) * x + offset.view(1, -1, 1, 1)).to(fixed.dtype)
        affine = (None, None) if weight is None else (by_weight, by_bias)
        return by_x, *affine, None, None


class ShardDropout(nn.Dropout):
    """Dropout drawn for a whole micro-batch, as one process would, of which this rank's shard is used."""

    def __init__(self, dropout: nn.Dropout, group: ProcessGroup) -> None:
        super().__init__(dropout.p)
        self.group = group

    def forward(self, x: Tensor) -> Tensor:
        """(N, …), this rank's shard → the same shape."""
        if not self.training:
            return x
        microbatch = self.group.microbatch
        mask = F.dropout(x.new_ones(len(microbatch), *x.shape[1:]), self.p)
        shard = self.group.shard(microbatch)
        return x * mask[shard.start - microbatch.start : shard.stop - microbatch.start]
