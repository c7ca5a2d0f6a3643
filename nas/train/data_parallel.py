"""A network as a process group trains it: gradients averaged, batch norms and dropout those of the whole batch."""

import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nas.blocks.sync_norm import SyncBatchNorm
from nas.train.process_group import ProcessGroup


def data_parallel(network: nn.Module, group: ProcessGroup) -> nn.Module:
    """The module to train; the network keeps its parameters and buffers, so that saving it stays the same."""
    if group.world_size == 1:
        return network
    share_layers(network, group)
    parallel = DistributedDataParallel(network)
    parallel.broadcast_buffers = False  # they agree; the argument's name depends on torch's version
    return parallel


def share_layers(network: nn.Module, group: ProcessGroup) -> None:
    """Makes batch norms and dropout those of the whole batch; without a torch.distributed group they are that."""
    if not dist.is_initialized():
        return
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if type(child) is nn.BatchNorm2d:
                SyncBatchNorm.share(child)
            elif type(child) is nn.Dropout:
                setattr(parent, name, ShardDropout(child, group))


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
