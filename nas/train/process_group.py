"""The process group that shares a training: each of its processes, a rank, computes a shard of every batch.

Where there is no torch.distributed group, the process is a group of one, which changes nothing. Losses are averaged and
batch statistics taken over the whole batch, and what is random is drawn for the whole batch by every rank, which then
takes its shard: gradients equal those of one process up to rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Self, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.errors import UsageError

Made = TypeVar("Made")
Address = tuple[str, int]
"""Host and port."""


def rendezvous(host: str) -> dist.TCPStore:
    """The store, in this process, where the ranks of a group meet; it answers on a free port as long as it lives."""
    return dist.TCPStore(host, 0, is_master=True, wait_for_workers=False)


@contextmanager
def membership(device: str, rank: int, world_size: int, address: Address | None) -> Iterator[None]:
    """A context in which this process is a rank of a torch.distributed group: NCCL on GPUs, gloo on CPUs.

    Args:
        address: of the group's :func:`rendezvous`; None: no group.
    """
    if address is None:
        yield
        return
    store = dist.TCPStore(*address, is_master=False)
    backend = "nccl" if device.startswith("cuda") else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size)
    try:
        yield
    finally:
        dist.destroy_process_group()


def averaged(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Their means over the ranks of this process' group, in one exchange; without a group they themselves."""
    if not dist.is_initialized() or not tensors:
        return list(tensors)
    flat = torch.cat([each.flatten() for each in tensors])
    dist.all_reduce(flat)
    parts = (flat / dist.get_world_size()).split([each.numel() for each in tensors])
    means = [torch.empty_like(each) for each in tensors]  # in each one's own layout of memory
    torch._foreach_copy_(means, [part.view(each.shape) for part, each in zip(parts, tensors, strict=True)])
    return means


class ProcessGroup:
    """The processes that share a training, as one of them sees them.

    A batch is computed in micro-batches, one after the other, and each of them is shared by all ranks.

    Args:
        batch: images of a whole batch.
        accumulate: its micro-batches, or fewer, as batch norm needs two images in each.
        rank, world_size: which process this is, and of how many.

    Raises:
        UsageError: a rank would have fewer than two images.
    """

    def __init__(self, batch: int, accumulate: int = 1, rank: int = 0, world_size: int = 1) -> None:
        self.batch, self.accumulate, self.rank, self.world_size = batch, accumulate, rank, world_size
        self.microbatches = _cut(range(batch), max(1, min(accumulate, batch // 2)))
        self.microbatch = self.microbatches[0]
        if world_size > 1 and min(map(len, self.microbatches)) < 2 * world_size:
            option = f" --accumulate {accumulate}" if accumulate > 1 else ""
            raise UsageError(f"--workers {world_size}{option}: a --batch of {batch} has fewer than two images for each")

    @classmethod
    def current(cls, batch: int, accumulate: int = 1) -> Self:
        """The torch.distributed group that this process belongs to, or a group of one."""
        if not dist.is_initialized():
            return cls(batch, accumulate)
        return cls(batch, accumulate, dist.get_rank(), dist.get_world_size())

    @property
    def first(self) -> bool:
        """Whether this is rank 0, which alone writes and prints."""
        return self.rank == 0

    @property
    def places(self) -> Tensor:
        """The places of this rank's images in a batch, micro-batch after micro-batch."""
        return torch.tensor([place for microbatch in self.microbatches for place in self.shard(microbatch)])

    def shard(self, microbatch: range) -> range:
        """This rank's places of a micro-batch; the ranks' numbers of images differ by one at most."""
        return _cut(microbatch, self.world_size)[self.rank]

    @property
    def shard_slice(self) -> slice:
        """This rank's places of a batch that is one micro-batch."""
        own = self.shard(self.microbatches[0])
        return slice(own.start, own.stop)

    def slices(self) -> Iterator[slice]:
        """The micro-batches in turn, as slices of this rank's images; ``microbatch`` is the present one."""
        end = 0
        for microbatch in self.microbatches:
            self.microbatch = microbatch
            start, end = end, end + len(self.shard(microbatch))
            yield slice(start, end)

    def gradient_sync(self, network: nn.Module) -> AbstractContextManager[None]:
        """A context for a micro-batch's forward and backward: ranks average their gradients in the last one alone."""
        if isinstance(network, DistributedDataParallel) and self.microbatch != self.microbatches[-1]:
            return network.no_sync()
        return nullcontext()

    def sum(self, **values: Tensor) -> dict[str, Tensor]:
        """Scalars summed over the ranks, in float64."""
        if self.world_size == 1:
            return values
        stacked = torch.stack([value.detach().double() for value in values.values()])
        dist.all_reduce(stacked)
        return dict(zip(values, stacked, strict=True))

    def from_first(self, make: Callable[[], Made]) -> Made:
        """What the first rank makes, on all ranks, all of which ask."""
        if self.world_size == 1:
            return make()
        made: list[Made | None] = [make() if self.first else None]
        dist.broadcast_object_list(made)
        return cast(Made, made[0])

    def any(self, flag: bool) -> bool:
        """Whether it is true on one of the ranks, all of which ask."""
        if self.world_size == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        return bool(self.sum(flag=torch.tensor(float(flag), device=device))["flag"])


def _cut(places: range, number: int) -> list[range]:
    """Places in so many nearly equal stretches."""
    edges = [len(places) * index // number for index in range(number + 1)]
    return [places[start:end] for start, end in pairwise(edges)]
