"""The Triton kernels: every form against plain modules; without a GPU by Triton's interpreter (tests/conftest.py)."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from nas import space as spaces
from nas.cells.supernet import MixedFanOut
from nas.engine.library.backend import Library
from nas.engine.merged import BACKENDS, MergedFanOut
from nas.engine.triton import backend
from nas.engine.triton.backend import Triton, add_up
from tests.engine.chains import AFFINE, CHAINS, chain_of, norm, pointwise

pytest.importorskip("triton")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
EDGES = 2
CLOSE = 2e-5
"""In single precision, of the largest value of a tensor."""


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Products of matrices in single precision; kernels on a CPU too."""
    monkeypatch.setattr(backend, "DEVICES", {"cuda", "cpu"})
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def assert_close(found: Sequence[Tensor], wanted: Sequence[Tensor], tolerance: float = CLOSE) -> None:
    for mine, theirs in zip(found, wanted, strict=True):
        difference = float((mine.detach().double().cpu() - theirs.detach()).abs().max())
        assert difference <= tolerance * max(1.0, float(theirs.detach().abs().max()))


def test_affine_batch_norms_are_left_to_the_library() -> None:
    for build in AFFINE.values():
        assert not Triton.supports(chain_of([nn.Sequential(*build())]), torch.zeros(1, 4, 8, 8, device=DEVICE))


SIZES = [(1, 5, 7)] if DEVICE == "cpu" else [(1, 5, 7), (3, 16, 13), (2, 32, 32)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", CHAINS)
def test_equals_plain_modules(name: str, size: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    plain = [nn.Sequential(*CHAINS[name]()).double() for _ in range(EDGES)]
    own = [nn.Sequential(*CHAINS[name]()).to(DEVICE) for _ in range(EDGES)]
    for mine, theirs in zip(own, plain, strict=True):
        mine.load_state_dict(theirs.state_dict())
    merged = chain_of(own)
    images, *sides = size
    x = (2 * torch.randn(images, merged[0].channels[0], *sides) + 1).requires_grad_()
    weights = torch.rand(1, EDGES, requires_grad=True)
    wide = [each.detach().double().requires_grad_() for each in (x, weights)]
    expected = [weight * chain(wide[0]) for weight, chain in zip(wide[1][0], plain, strict=True)]
    grads = [torch.randn_like(each).float().double() for each in expected]
    parameters = [parameter for chain in plain for parameter in chain.parameters()]
    wanted = torch.autograd.grad(expected, [*wide, *parameters], grads)
    state, rows = x.to(DEVICE, memory_format=torch.channels_last), weights.to(DEVICE)
    assert Triton.supports(merged, state)
    found = add_up(EDGES, [merged], state, list(rows), [])
    learning = [x, weights, *(parameter for chain in own for parameter in chain.parameters())]
    gradients = torch.autograd.grad(found, learning, [grad.float().to(DEVICE) for grad in grads])
    assert_close([*found, *gradients], [*expected, *wanted])
    assert_close(
        [b for chain in own for b in chain.buffers()], [b.double() for chain in plain for b in chain.buffers()]
    )


def fan_outs(name: str, kind: str, state: int, channels: int) -> tuple[MixedFanOut, MergedFanOut]:
    """The reference in float64 on a CPU and the kernels' with the same weights."""
    torch.manual_seed(0)
    space = spaces.load(name)
    reference = MixedFanOut(space, kind, state, channels)
    merged = MergedFanOut(space, kind, state, channels, BACKENDS["triton"])
    merged.load_state_dict(reference.state_dict())
    return reference.double(), merged.to(DEVICE)


def differentiated(fan_out: nn.Module, x: Tensor, weights: Tensor) -> list[Tensor]:
    """The contributions, summed by node, and all gradients."""
    x = x.to(memory_format=torch.channels_last).detach().requires_grad_()
    weights = weights.detach().requires_grad_()
    nodes: dict[int, Tensor] = {}
    for node, part in fan_out(x, weights):
        nodes[node] = nodes[node] + part if node in nodes else part
    random = torch.Generator().manual_seed(1)
    draws = [torch.randn(nodes[node].shape, generator=random, dtype=torch.float64) for node in sorted(nodes)]
    outs = [nodes[node] for node in sorted(nodes)]
    learning = [x, weights, *fan_out.parameters()]
    grads = [draw.to(out.device, out.dtype) for draw, out in zip(draws, outs, strict=True)]
    return [*outs, *torch.autograd.grad(outs, learning, grads), *fan_out.buffers()]


HERE = [("darts", "normal", 4, 8, 5), ("darts+sandglass+ir", "reduce", 4, 8, 4)]
THERE = [
    (name, kind, state, channels, size)
    for name in ("darts", "darts+sandglass:identity=1/2", "darts+ir", "darts+harmonious", "darts+asymmetric", "s3")
    for kind, state in (("normal", 0), ("reduce", 1), ("normal", 3))
    for channels, size in ((16, 32), (24, 13), (64, 8))
]
SWEEP = [
    (name, kind, 3, channels, size)
    for name, width in (("darts", 16), ("darts+sandglass", 8), ("darts+ir", 8), ("darts+harmonious", 16))
    for kind in ("normal", "reduce")
    for channels, size in ((width, 9), (24, 5), (64, 4))
]
SWEEP += [("darts+asymmetric:r=1.5", kind, 4, 20, 7) for kind in ("normal", "reduce")] + [("s3", "normal", 2, 8, 6)]
"""By the interpreter: odd sizes, tiles that are not filled, channels that are no power of two."""


@pytest.mark.parametrize(("name", "kind", "state", "channels", "size"), HERE if DEVICE == "cpu" else THERE)
def test_a_fan_out_equals_the_reference(name: str, kind: str, state: int, channels: int, size: int) -> None:
    reference, merged = fan_outs(name, kind, state, channels)
    x, weights = torch.randn(2, channels, size, size), torch.rand(14, len(spaces.load(name).ops))
    found = differentiated(merged, x.to(DEVICE), weights.to(DEVICE))
    assert_close(found, differentiated(reference, x.double(), weights.double()), 1e-4)


def test_evaluation_uses_running_statistics() -> None:
    reference, merged = (each.eval() for each in fan_outs("darts", "normal", 4, 8))
    x, weights = torch.randn(1, 8, 4, 4), torch.rand(14, 8)
    found = differentiated(merged, x.to(DEVICE), weights.to(DEVICE))
    assert_close(found, differentiated(reference, x.double(), weights.double()), 1e-4)


def test_the_variance_of_a_map_with_an_outlier() -> None:
    """Padding makes a corner one; everything else is nearly constant."""
    layers = nn.Sequential(nn.ReLU(), pointwise(4, 4), norm(4)).to(DEVICE)
    x = 5 + 0.01 * torch.rand(2, 4, 24, 24)
    x[:, :, 0, 0] = 0
    x = x.to(DEVICE, memory_format=torch.channels_last)
    with torch.no_grad():
        add_up(1, [chain_of([layers])], x, [torch.ones(1).to(DEVICE)], [])
        wanted = layers[1](x).double().var((0, 2, 3))
    torch.testing.assert_close((layers[2].running_var.double() - 0.9) / 0.1, wanted, rtol=1e-3, atol=1e-6)


def test_nothing_hides_a_nan() -> None:
    chains = [nn.Sequential(*CHAINS["3x3"]()).to(DEVICE) for _ in range(EDGES)]
    x = torch.randn(1, 8, 4, 4, device=DEVICE).contiguous(memory_format=torch.channels_last)
    x[0, :, 3, 3] = torch.nan
    assert all(each.isnan().all() for each in add_up(EDGES, [chain_of(chains)], x, [torch.ones(EDGES).to(DEVICE)], []))


def test_it_is_chosen_where_it_can_run() -> None:
    _, merged = fan_outs("darts", "normal", 4, 8)
    assert merged.backends == (Triton, Library)
    assert Triton.supports((), torch.zeros(1, 4, 8, 8, device=DEVICE))
    assert not Triton.supports((), torch.zeros(1, 4, 8, 8, device=DEVICE, dtype=torch.float64))
    assert not Triton.supports((), torch.zeros(1, 4, 8, 8, device="meta"))


@pytest.mark.slow
@pytest.mark.skipif(DEVICE == "cuda", reason="THERE has them")
@pytest.mark.parametrize(("name", "kind", "state", "channels", "size"), SWEEP)
def test_the_sweep(name: str, kind: str, state: int, channels: int, size: int) -> None:
    test_a_fan_out_equals_the_reference(name, kind, state, channels, size)


@pytest.mark.gpu
@pytest.mark.parametrize("autocast", [False, True])
def test_two_passes_give_the_same_bits(autocast: bool) -> None:
    _, merged = fan_outs("darts+sandglass", "normal", 1, 32)
    x, weights = torch.randn(8, 32, 16, 16, device="cuda"), torch.rand(14, 9, device="cuda")
    with torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        once, again = (differentiated(merged, x, weights)[: -len(list(merged.buffers()))] for _ in range(2))
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(once, again, strict=True))


@pytest.mark.gpu
def test_half_precision_rounds_maps_alone() -> None:
    """A bfloat16 has 8 bits: a map's error is some 2⁻⁸; what the rows come to is summed in single precision."""
    reference, merged = fan_outs("darts", "normal", 1, 16)
    x, weights = torch.randn(8, 16, 32, 32), torch.rand(14, 8)
    with torch.autocast("cuda", torch.bfloat16):
        found = differentiated(merged, x.cuda(), weights.cuda())
    for mine, theirs in zip(found, differentiated(reference, x.double(), weights.double()), strict=True):
        assert float((mine.double().cpu() - theirs).norm()) <= 0.1 * float(theirs.double().norm()) + 1e-3
