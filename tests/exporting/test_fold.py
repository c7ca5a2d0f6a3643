"""Folded networks compute the same without batch norms."""

import pytest
import torch
from torch import nn

from nas.architecture import Architecture
from nas.blocks.grids import GridConv2d
from nas.exporting.fold import folded
from nas.macro.families import FAMILIES
from nas.macro.networks import IdleNorm
from tests.exporting.trained import cell, macro, published

ARCHITECTURES = {
    **{name: macro(name) for name in FAMILIES},
    "mobilenext b0": macro("mobilenext", size="b0"),
    "DARTS_V1": cell(published("DARTS_V1")),
    "DARTS_V2": cell(published("DARTS_V2")),
    "with mobile blocks": cell(
        published("DARTS_V2").replace("sep_conv_3x3", "sandglass_3x3").replace("skip_connect", "harmonious_5x5")
    ),
    "auxiliary head": cell().changed(auxiliary=True),
}


def disturbed(network: nn.Module) -> nn.Module:
    """With batch norms that do something."""
    stream = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_mean, -0.5)):
                tensor.data = torch.rand(tensor.shape, generator=stream) + low
            module.running_var = torch.rand(module.running_var.shape, generator=stream) + 0.5
    return network.double().eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_logits_without_batch_norms(name: str) -> None:
    architecture: Architecture = ARCHITECTURES[name]
    network = disturbed(architecture.build())
    shipped = folded(network)
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)).double()
    torch.testing.assert_close(shipped(images), network(images), rtol=1e-9, atol=1e-12)
    kinds = {type(module) for module in shipped.modules()}
    assert not kinds & {nn.BatchNorm2d, GridConv2d} and kinds & {nn.Conv2d}
    assert any(isinstance(module, nn.BatchNorm2d) for module in network.modules()), "the original is left as it was"


def test_a_norm_that_is_not_run_stays() -> None:
    assert any(isinstance(module, IdleNorm) for module in folded(macro("mobilenext", size="b0").build()).modules())
