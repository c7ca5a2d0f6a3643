"""Every operation of the registry, at both strides, with and without affine batch norm."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.fake_gpu import fake_gpu
from nas.blocks import OPS, default_settings, pooling
from nas.blocks.grids import GridConv2d


@pytest.mark.parametrize("size", [(8, 8), (7, 9)])
@pytest.mark.parametrize("channels", [4, 7])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPS)
def test_shape_and_gradients(name: str, stride: int, affine: bool, channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    operation = OPS[name](channels, stride, affine, **default_settings(name))
    x = torch.randn(3, channels, *size, requires_grad=True)
    out = operation(x)
    assert out.shape == (3, channels, -(-size[0] // stride), -(-size[1] // stride))
    assert out.isfinite().all()
    if name in ("none", "noise"):
        assert bool(out.any()) is (name == "noise")
        return
    (out * torch.randn_like(out)).sum().backward()
    for parameter_name, parameter in operation.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name
    assert x.grad is not None and x.grad.abs().sum() > 0


@pytest.mark.parametrize("name", OPS)
def test_does_not_change_its_input(name: str) -> None:
    x = torch.randn(2, 6, 8, 8)
    kept = x.clone()
    OPS[name](6, 1, False)(x)
    assert torch.equal(x, kept)


WITHOUT_NORM = ("none", "noise", "skip_connect", "auxiliary_skip", "avg_pool_3x3_plain")


@pytest.mark.parametrize("name", [name for name in OPS if name not in WITHOUT_NORM])
def test_affine_is_what_scales(name: str) -> None:
    norms = [module for module in OPS[name](8, 1, False).modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms and not any(norm.affine for norm in norms)


def weights(name: str, channels: int) -> int:
    return sum(parameter.numel() for parameter in OPS[name](channels, 1, False).parameters())


def test_weights_of_the_mobile_blocks() -> None:
    """Counts at C → C, t = 2, r = 1, without affine."""
    c = 12
    assert weights("sandglass_3x3", c) == c * c + 18 * c
    assert weights("inverted_residual_3x3", c) == 4 * c * c + 18 * c
    assert weights("asymmetric_3x3", c) == 4 * c * c + 27 * c


@pytest.mark.parametrize("size", [(8, 8), (8, 12), (7, 9), (8, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_dilation_on_grids_is_the_plain_convolution(kernel: int, stride: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    plain = nn.Conv2d(6, 6, kernel, stride, padding=2 * (kernel // 2), dilation=2, groups=6, bias=False).double()
    grids = GridConv2d(6, 6, kernel, stride, padding=2 * (kernel // 2), dilation=2, groups=6, bias=False).double()
    grids.load_state_dict(plain.state_dict())
    results = []
    for conv in (plain, grids):
        x = torch.randn(
            2, 6, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True
        )
        out = conv(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, conv.weight])])
    for expected, found in zip(*results, strict=True):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12)


class Pools(TorchDispatchMode):
    """Writes down what reaches torch's average pooling, forward and backward."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "avg_pool2d" in str(func):
            self.maps.append(args[1] if "backward" in str(func) else args[0])
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("right", [False, True])
def test_average_pooling_on_a_gpu_avoids_torchs_wrong_gradient(right: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "RIGHT_GRADIENTS", right)
    with fake_gpu(), Pools() as pools:
        x = torch.empty(2, 4, 8, 8, device="cuda").to(memory_format=torch.channels_last).requires_grad_()
        out = OPS["avg_pool_3x3_plain"](4, 1, False)(x)
        out.sum().backward()
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert [each.is_contiguous() for each in pools.maps] == [not right] * 2


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", [name for name in OPS if name not in ("none", "noise")])
def test_gradients_on_a_gpu(name: str, stride: int, layout: torch.memory_format) -> None:
    """In float64 those of a CPU, in both layouts of memory: of the input and of all weights."""
    torch.manual_seed(0)
    operation = OPS[name](4, stride, False, **default_settings(name)).double()
    x = torch.randn(3, 4, 16, 16, dtype=torch.float64)
    slope = torch.randn_like(operation(x))
    results = []
    for device in ("cpu", "cuda"):
        here = copy.deepcopy(operation).to(device).to(memory_format=layout)
        images = x.to(device).clone(memory_format=layout).requires_grad_()
        here(images).backward(slope.to(device))
        results.append([images.grad, *(parameter.grad for parameter in here.parameters())])
    for wanted, found in zip(*results, strict=True):
        assert wanted is not None and found is not None
        torch.testing.assert_close(found.cpu(), wanted, rtol=1e-9, atol=1e-12)
