"""A network as it is shipped: batch norms folded into convolutions, what only training needs taken out."""

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_conv_bn_weights

from nas.blocks.grids import without_grids
from nas.blocks.layers import FactorizedReduce
from nas.cells.network import CellNetwork


def folded(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode that computes the same without batch norms, as far as they follow a convolution.

    An auxiliary head is left out; dilated convolutions computed on grids become ordinary ones. Works on networks of
    both branches: a batch norm folds where it stands behind a convolution in an ``nn.Sequential``.
    """
    network = without_grids(copy.deepcopy(network).eval())
    if isinstance(network, CellNetwork):
        network.auxiliary = None
    for module in list(network.modules()):
        if isinstance(module, nn.Sequential):
            _fold_chain(module)
        elif isinstance(module, FactorizedReduce):
            _fold_reduction(module)
    return network


def _fold_chain(chain: nn.Sequential) -> None:
    for index in range(len(chain) - 1):
        conv, norm = chain[index], chain[index + 1]
        if type(conv) is nn.Conv2d and type(norm) is nn.BatchNorm2d:
            chain[index], chain[index + 1] = fuse_conv_bn_eval(conv, norm), nn.Identity()


def _fold_reduction(module: FactorizedReduce) -> None:
    """One batch norm over the outputs of two convolutions: each takes its channels' part."""
    norm = cast(nn.BatchNorm2d, module.norm)
    assert norm.running_mean is not None and norm.running_var is not None
    split = module.conv_even.out_channels
    for conv, part in ((module.conv_even, slice(None, split)), (module.conv_odd, slice(split, None))):
        statistics = (norm.running_mean[part], norm.running_var[part])
        weight, bias = fuse_conv_bn_weights(
            conv.weight, None, *statistics, norm.eps, norm.weight[part], norm.bias[part]
        )
        conv.weight, conv.bias = weight, bias
    module.norm = nn.Identity()
