"""One training spread over workers: each computes its share of every batch, and together what one worker would.

A worker is one process of a torch.distributed group. Where there is no group, the team is of one and changes nothing.
Losses are averaged and batch statistics taken over the whole batch, and what is drawn at random is drawn for the whole
batch by every worker, which then takes its share: gradients equal those of one worker up to rounding.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.parallel import DistributedDataParallel

from nas.errors import UsageError


@dataclass
class Team:
    """This process' place among those that share a training.

    A batch is computed in several parts, one after the other, and each part is shared by all workers.

    Args:
        batch: images of a whole batch.
        accumulate: its parts, or fewer, as batch norm needs two images in each.
        rank, size: which worker this is, and of how many.
    """

    batch: int
    accumulate: int = 1
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        self.parts = cut(range(self.batch), max(1, min(self.accumulate, self.batch // 2)))
        self.part = self.parts[0]
        smallest = min(map(len, self.parts))
        if self.size > 1 and smallest < 2 * self.size:
            accumulate = f" --accumulate {self.accumulate}" if self.accumulate > 1 else ""
            raise UsageError(
                f"--workers {self.size}{accumulate}: a --batch of {self.batch} has fewer than two images for each"
            )

    @classmethod
    def present(cls, batch: int, accumulate: int = 1) -> Self:
        """The team of the torch.distributed group that this process belongs to, or a team of one."""
        place = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else ()
        return cls(batch, accumulate, *place)

    @property
    def first(self) -> bool:
        """Whether this is the worker that writes and speaks."""
        return self.rank == 0

    @property
    def places(self) -> Tensor:
        """The places of this worker's images in a batch, part after part."""
        return torch.tensor([place for part in self.parts for place in self.share(part)])

    def share(self, part: range) -> range:
        """This worker's places of a part; workers' numbers of images differ by one at most."""
        return cut(part, self.size)[self.rank]

    def turns(self) -> Iterator[slice]:
        """The parts one after the other, as slices of this worker's images; dropout draws for the present one."""
        end = 0
        for part in self.parts:
            self.part = part
            start, end = end, end + len(self.share(part))
            yield slice(start, end)

    def share_gradients(self, network: nn.Module) -> AbstractContextManager[None]:
        """Around a part's forward and backward: workers average their gradients in the last part alone."""
        if isinstance(network, DistributedDataParallel) and self.part != self.parts[-1]:
            return network.no_sync()
        return nullcontext()

    def sum(self, **values: Tensor) -> dict[str, Tensor]:
        """Scalars summed over the workers, in float64."""
        if self.size == 1:
            return values
        stacked = torch.stack([value.detach().double() for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked, strict=True))

    def any(self, flag: bool) -> bool:
        """Whether it is true for one of the workers, all of which ask."""
        if self.size == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return bool(self.sum(flag=torch.tensor(float(flag), device=device))["flag"])

    def spread(self, network: nn.Module) -> nn.Module:
        """The network as the team trains it; it keeps its parameters and buffers, so that saving it stays the same."""
        if self.size == 1:
            return network
        for parent in list(network.modules()):
            for name, child in parent.named_children():
                if type(child) is nn.BatchNorm2d:
                    setattr(parent, name, SharedBatchNorm(child))
                elif type(child) is nn.Dropout:
                    setattr(parent, name, PartialDropout(child, self))
        spread = DistributedDataParallel(network)
        spread.broadcast_buffers = False  # they agree; the argument's name depends on torch's version
        return spread


class SharedBatchNorm(nn.BatchNorm2d):
    """A batch norm over the images of all workers, forward and backward; on a CPU too, unlike nn.SyncBatchNorm.

    Args:
        norm: gives its parameters and buffers.
    """

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, device="meta")
        self._parameters, self._buffers = norm._parameters, norm._buffers

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W), this worker's share → the same shape."""
        if not self.training:
            return super().forward(x)
        mean, var, count = self._whole(x.detach())
        self._update(mean, var * (count / (count - 1)))
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, mean, var, count, self.eps)
        return out

    def _whole(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Per channel mean and biased variance of the whole batch, and the values a channel (Chan et al., 1979)."""
        unused = torch.zeros(2, self.num_features, dtype=self.get_buffer("running_mean").dtype, device=x.device)
        mean, var = torch.ops.aten.batch_norm_update_stats(x, unused[0], unused[1], 1.0)
        own = torch.cat([mean, var, mean.new_tensor([x.numel() // self.num_features])])
        gathered = [torch.empty_like(own) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, own)
        every = torch.stack(gathered)
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
    """(x − mean) / √(var + ε) · weight + bias, where mean and variance are functions of all workers' x.

    With x̂ the normalised x, n values a channel, g the incoming gradient and sums over all workers, the gradient is
    weight / √(var + ε) · (g − Σg/n − x̂ · Σ(g·x̂)/n) (Ioffe and Szegedy, 2015, §3). The first term is the library's
    gradient under fixed statistics, which also brings this worker's sums.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        count: Tensor,
        eps: float,
    ) -> Tensor:
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
        return by_x, *affine, None, None, None, None


class PartialDropout(nn.Dropout):
    """Draws for the whole part of the batch, as one worker would, and uses this worker's share."""

    def __init__(self, dropout: nn.Dropout, team: Team) -> None:
        super().__init__(dropout.p)
        self.team = team

    def forward(self, x: Tensor) -> Tensor:
        """(N, …), this worker's share → the same shape."""
        if not self.training:
            return x
        part = self.team.part
        kept = F.dropout(x.new_ones(len(part), *x.shape[1:]), self.p)
        share = self.team.share(part)
        return x * kept[share.start - part.start : share.stop - part.start]


def cut(places: range, number: int) -> list[range]:
    """Places cut into so many nearly equal stretches."""
    edges = [len(places) * index // number for index in range(number + 1)]
    return [places[start:end] for start, end in pairwise(edges)]
