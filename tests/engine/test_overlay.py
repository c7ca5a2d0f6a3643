"""Networks under compiled kernels against their own modules, in double precision."""

import copy
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.drop_path import draw_paths, set_paths
from nas.cells.found import found_network
from nas.cells.genotype import from_text
from nas.cells.supernet import Supernet
from nas.engine.native.kernels import library
from nas.engine.overlay import Overlay, lay_on_inputs, overlay
from nas.macro import networks
from nas.macro.families import FAMILIES
from nas.space import load

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler")

DARTS = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('dil_conv_5x5', 2), "
    "('skip_connect', 0), ('max_pool_3x3', 1), ('skip_connect', 0), ('dil_conv_3x3', 2)], normal_concat=[2, 3, 4, 5], "
    "reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 1), ('avg_pool_3x3', 1), "
    "('sep_conv_5x5', 0), ('dil_conv_5x5', 1), ('skip_connect', 0), ('dil_conv_3x3', 2)], reduce_concat=[2, 3, 4, 5])"
)
MOBILE = (
    "Genotype(normal=[('sandglass_3x3', 0), ('inverted_residual_3x3', 1), ('harmonious_5x5', 0), ('asymmetric_3x3', 1)]"
    ", normal_concat=[2, 3], reduce=[('sandglass_3x3', 0), ('pruned_3x3', 1), ('harmonious_5x5', 1), ('conv_3x3', 2)], "
    "reduce_concat=[2, 3])"
)


def cell(text: str) -> nn.Module:
    return found_network(from_text(text), channels=8, cells=3, auxiliary=True)


def macro(name: str, **settings: Any) -> nn.Module:
    return networks.build(name, {"width": 0.25, **settings}, input=(3, 16, 16), classes=10, stem="cifar")


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "darts": lambda: cell(DARTS),
    "mobile": lambda: cell(MOBILE),
    **{name: partial(macro, name) for name in FAMILIES if name != "mobilenet_v1"},
    "identity 1/2": lambda: macro("mobilenext", identity="1/2"),
    "identity 1/2, squeezed": lambda: macro("mobilenet_v3", identity="1/2"),
    "asymmetry 0": lambda: macro("asymmnet", asymmetry=0),
}


def pair(name: str) -> tuple[nn.Module, nn.Module]:
    """A network in double precision whose batch norms are no longer as they began, and a copy under the kernels."""
    torch.manual_seed(0)
    plain = NETWORKS[name]().double()
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d) and module.affine:
            nn.init.uniform_(module.weight, -1, 1)
            nn.init.normal_(module.bias)
    return plain, copy.deepcopy(plain)


def step(network: nn.Module, masked: nn.Module, training: bool) -> dict[str, Tensor]:
    """Outputs, gradients and what the step leaves behind."""
    masked.train(training)
    torch.manual_seed(1)
    images = torch.randn(4, 3, 16, 16, dtype=torch.float64).requires_grad_()
    set_paths(masked, draw_paths(masked, 0.3, 4, torch.Generator().manual_seed(0)))
    outputs = network(images)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    torch.stack([(each * torch.randn_like(each)).sum() for each in outputs]).sum().backward()
    values = {f"output {index}": each.detach() for index, each in enumerate(outputs)}
    values |= {f"gradient of {name}": each.grad for name, each in masked.named_parameters() if each.grad is not None}
    return values | {"gradient of the images": images.grad, **dict(masked.named_buffers())}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_equals_the_modules(name: str, training: bool) -> None:
    plain, same = pair(name)
    under = overlay(same, "native")
    assert isinstance(under, Overlay)
    wanted, mine = step(plain, plain, training), step(under, same, training)
    assert wanted.keys() == mine.keys()
    for key, value in wanted.items():
        close = 1e-9 * max(1.0, float(value.abs().max()))
        torch.testing.assert_close(mine[key], value, rtol=0, atol=close, msg=f"{key} of {name}")


@pytest.mark.parametrize(("name", "left"), [("darts", {3, 128}), ("mobilenet_v2", {3, 80})])
def test_what_is_left_to_torch(name: str, left: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """By their input channels: stems, the auxiliary head's last convolution."""
    _, network = pair(name)
    channels: set[int] = set()

    def noted(self: nn.Conv2d, x: Tensor) -> Tensor:
        channels.add(self.in_channels)
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    monkeypatch.setattr(nn.Conv2d, "forward", noted)
    overlay(network, "native")(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert channels == left


def test_the_network_stays_as_it_is() -> None:
    plain, network = pair("darts")
    under = overlay(network)
    under(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert network.state_dict().keys() == plain.state_dict().keys()
    assert not any("forward" in vars(module) for module in network.modules())
    with pytest.raises(RuntimeError):
        under(torch.randn(2, 5, 16, 16, dtype=torch.float64))
    assert not any("forward" in vars(module) for module in network.modules())


def test_whose_modules_compute_themselves() -> None:
    _, network = pair("darts")
    assert overlay(network, "library") is network
    assert overlay(network.to("meta")) is network
    stem = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    assert overlay(stem, "native") is stem
    _, mobile = pair("mobilenet_v2")
    assert overlay(mobile) is mobile


def test_another_type_of_numbers() -> None:
    """Under autocast the maps are bfloat16: the modules compute themselves, to the bit."""
    _, network = pair("mobilenet_v2")
    network.float().eval()
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(overlay(network, "native")(images), network(images))


def test_what_is_made_again_is_not_kept() -> None:
    """Of a state that is one map's batch norm only that map is there until the backward pass, also after a while."""
    _, network = pair("darts")
    kept: list[weakref.ref[Tensor]] = []
    under = overlay(network, "native")
    cell = network.get_submodule("cells.0")
    cell.get_submodule("inputs.1").register_forward_hook(lambda _module, _inputs, out: kept.append(weakref.ref(out)))
    outputs = under(torch.randn(2, 3, 16, 16, dtype=torch.float64))
    assert kept[0]() is None
    outputs[0].sum().backward()


def test_the_inputs_of_cells_for_good() -> None:
    torch.manual_seed(0)
    plain = Supernet(load("darts"), channels=4, cells=3).double()
    under = copy.deepcopy(plain)
    lay_on_inputs(under)
    assert sum("forward" in vars(module) for module in under.modules()) == 6
    same = copy.deepcopy(under)
    for parameter in under.parameters():
        nn.init.zeros_(parameter)  # a copy computes with its own
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    for supernet in (plain, same):
        supernet(images).square().sum().backward()
    tensors = [[*(each.grad for each in one.parameters()), *one.buffers()] for one in (same, plain)]
    for mine, theirs in zip(*tensors, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9 * max(1.0, float(theirs.abs().max())))
