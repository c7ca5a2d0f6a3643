"""The merged engine against the reference: the same parameters, loss, gradients and running statistics."""

import copy
from collections.abc import Callable, Sequence
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import blocks
from nas import space as spaces
from nas.bilevel.gradients import Batch, Learner
from nas.blocks.layers import FactorizedReduce
from nas.cells.partial import PartialFanOut
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.engine import merged, segments
from nas.engine.backend import Backend, Chain, Contribution, Summand
from nas.engine.library.backend import Library, mix_common
from nas.engine.merged import MergedFanOut
from nas.engine.native import kernels
from nas.errors import UsageError
from nas.execution import Execution
from nas.moment import Moment
from nas.settings import SearchSettings
from nas.space import CellSpace

SPACES = [
    "darts",
    "darts+sandglass:identity=1/2",
    "darts+ir",
    "darts+harmonious",
    "darts+asymmetric:r=1.5",
    "darts+pruned",
]


def pair(
    space: CellSpace,
    fan_out: FanOut = MergedFanOut,
    *,
    channels: int = 4,
    cells: int = 3,
    text: FanOut = MixedFanOut,
) -> tuple[Supernet, Supernet]:
    """The reference and the merged engine with one state dict, the alphas far from uniform."""
    torch.manual_seed(0)
    reference = Supernet(space, channels=channels, cells=cells, fan_out=text)
    for alpha in reference.alphas.values():
        nn.init.normal_(alpha)
    engine = Supernet(space, channels=channels, cells=cells, fan_out=fan_out)
    engine.load_state_dict(reference.state_dict())
    return reference, engine


def batch(size: int, images: int = 3, dtype: torch.dtype = torch.float64) -> Batch:
    return torch.randn(images, 3, size, size, dtype=dtype), torch.randint(10, (images,))


def loss(supernet: Supernet, data: Batch) -> Tensor:
    return F.cross_entropy(supernet(data[0]), data[1])


def assert_close(found: nn.Module, wanted: nn.Module, tolerance: float) -> None:
    """Gradients and buffers; a running mean whose true value is 0 counts against a standard deviation of 1."""
    for (name, mine), theirs in zip(found.named_parameters(), wanted.parameters(), strict=True):
        assert mine.grad is not None and theirs.grad is not None, name
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=0, atol=tolerance * float(theirs.grad.abs().max()))
    for mine, theirs in zip(found.buffers(), wanted.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


@pytest.fixture(params=["native", "library"])
def fan_out(request: pytest.FixtureRequest) -> FanOut:
    """Both back ends: the compiled kernels, and without a compiler or on a GPU the library's."""
    if request.param == "library":
        return partial(MergedFanOut, backends=(Library,))
    if kernels.library() is None:
        pytest.skip("no C++ compiler")
    return MergedFanOut


@pytest.mark.parametrize(("fan_out", "size"), [("native", 16), ("native", 13), ("library", 13)], indirect=["fan_out"])
@pytest.mark.parametrize("name", SPACES)
def test_equals_the_reference_in_float64(name: str, size: int, fan_out: FanOut) -> None:
    """13 pixels become 7 and 4, so that strides meet odd and even maps, and dilations both their forms."""
    channels = 8 if "harmonious" in name else 4  # kernels take multiples of 4, also of half the channels
    reference, engine = (supernet.double() for supernet in pair(spaces.load(name), fan_out, channels=channels))
    data = batch(size)
    losses = [loss(supernet, data) for supernet in (engine, reference)]
    for each in losses:
        each.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-9)
    assert_close(engine, reference, 1e-9)
    with torch.no_grad():
        torch.testing.assert_close(engine.eval()(data[0]), reference.eval()(data[0]), rtol=1e-9, atol=1e-9)


RAGGED = CellSpace(
    "ragged",
    "for tests: operations that some edges have and others do not",
    2,
    {name: {} for name in ("none", "max_pool_3x3", "skip_connect", "sep_conv_3x3", "dil_conv_5x5")},
    choices={
        "normal": (
            ("skip_connect", "sep_conv_3x3"),
            ("max_pool_3x3", "skip_connect"),
            ("skip_connect", "dil_conv_5x5"),
            ("none", "sep_conv_3x3"),
            ("max_pool_3x3",),
        ),
        "reduce": (
            ("max_pool_3x3", "dil_conv_5x5"),
            ("skip_connect", "dil_conv_5x5"),
            ("max_pool_3x3", "sep_conv_3x3"),
            ("skip_connect", "sep_conv_3x3"),
            ("skip_connect", "dil_conv_5x5"),
        ),
    },
)


@pytest.mark.parametrize("share", [1, 2])
def test_edges_with_operations_of_their_own(share: int, fan_out: FanOut) -> None:
    inner = [fan_out, MixedFanOut]
    engines = [partial(PartialFanOut, each, share) for each in inner] if share > 1 else inner
    reference, engine = (each.double() for each in pair(RAGGED, engines[0], channels=8, text=engines[1]))
    data = batch(13)
    for supernet in (engine, reference):
        loss(supernet, data).backward()
    assert_close(engine, reference, 1e-9)


@pytest.mark.parametrize("name", ["s1", "s3", "s4", "nasbench201"])
def test_other_spaces(name: str, fan_out: FanOut, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "warn_unmerged", lambda name: pytest.fail(f"{name} was not merged"))
    reference, engine = (supernet.double() for supernet in pair(spaces.load(name), fan_out, channels=4))
    data = batch(8)
    losses = [loss(supernet, data) for supernet in (engine, reference)]
    for each in losses:
        each.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-9)
    assert_close(engine, reference, 1e-9)


OTHERS = ("sep_conv_7x7", "conv_3x3", "conv_7x1_1x7")


def small_space(*operations: str) -> CellSpace:
    return CellSpace("small", "for tests", 2, {name: {} for name in ("none", "skip_connect", *operations)})


def test_other_shipped_operations_merge_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "warn_unmerged", lambda name: pytest.fail(f"{name} was not merged"))
    reference, engine = (supernet.double() for supernet in pair(small_space(*OTHERS)))
    data = batch(12)
    for supernet in (engine, reference):
        loss(supernet, data).backward()
    assert_close(engine, reference, 1e-9)


def conv3x3(channels: int, padding: int, dilation: int = 1, groups: int | None = None) -> nn.Module:
    return nn.Conv2d(channels, channels, 3, 1, padding, dilation, groups or channels, bias=False)


def twice(channels: int) -> nn.Module:
    relu = nn.ReLU()
    first, second = (nn.Sequential(conv3x3(channels, 1), norm(channels)) for _ in range(2))
    return nn.Sequential(relu, first, relu, second)


class Louder(FactorizedReduce):
    """Derived from what has a merge rule, and something else."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * nn.functional.interpolate(super().forward(x), x.shape[2:])


def norm(channels: int, momentum: float | None = 0.1) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False, momentum=momentum)


UNUSUAL: dict[str, Callable[[int], nn.Module]] = {
    "a layer used twice": twice,
    "a dense dilated convolution": lambda c: nn.Sequential(nn.ReLU(), conv3x3(c, 2, 2, groups=1), norm(c)),
    "unequal paddings": lambda c: nn.Sequential(nn.ReLU(), conv3x3(c, 2), conv3x3(c, 0), norm(c)),
    "a pool whose batch norm sums up": lambda c: nn.Sequential(nn.AvgPool2d(3, 1, 1), norm(c, momentum=None)),
    "a pool before a convolution": lambda c: nn.Sequential(nn.AvgPool2d(3, 1, 1), conv3x3(c, 1), norm(c)),
    "a dilated convolution before a wide one": lambda c: nn.Sequential(
        nn.ReLU(), conv3x3(c, 2, 2), conv3x3(c, 1), norm(c)
    ),
    "a ReLU6 first": lambda c: nn.Sequential(nn.ReLU6(), conv3x3(c, 1), norm(c)),
    "an activation last": lambda c: nn.Sequential(conv3x3(c, 1), norm(c), nn.ReLU()),
    "an affine batch norm": lambda c: nn.Sequential(nn.ReLU(), conv3x3(c, 1), nn.BatchNorm2d(c)),
    "padding with reflections": lambda c: nn.Sequential(
        nn.Conv2d(c, c, 3, padding=1, padding_mode="reflect", bias=False), norm(c)
    ),
    "a subclass of a block": lambda c: Louder(c, c, affine=False),
}
MERGED = ("a layer", "a dense", "unequal", "a dilated", "a ReLU6", "an affine")
"""Beginnings of the names of those that have merge rules."""


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_operations_are_computed_as_they_are(
    name: str, fan_out: FanOut, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(channels: int, stride: int, affine: bool) -> nn.Module:
        operation = UNUSUAL[name](channels)
        return nn.Sequential(operation, nn.AvgPool2d(stride, stride)) if stride > 1 else operation

    monkeypatch.setitem(blocks.OPS, "unusual", build)
    reference, engine = (supernet.double() for supernet in pair(small_space("unusual"), fan_out))
    data = batch(8)
    for supernet in (engine, reference):
        loss(supernet, data).backward()
    assert_close(engine, reference, 1e-9)
    plans = [each.groups[tuple(each.rows)][-1].terms for each in engine.modules() if isinstance(each, MergedFanOut)]
    assert any(terms is not None for terms in plans) == name.startswith(MERGED)


def test_gradients_in_evaluation_mode(fan_out: FanOut) -> None:
    reference, engine = (supernet.double() for supernet in pair(small_space("sep_conv_3x3", "avg_pool_3x3"), fan_out))
    data = batch(8)
    for supernet in (engine, reference):
        loss(supernet, data)  # moves the running statistics off 0 and 1
        loss(supernet.eval(), data).backward()
    assert_close(engine, reference, 1e-9)


@pytest.mark.parametrize("name", ["darts+sandglass"])
def test_twenty_search_steps_in_float64(name: str) -> None:
    settings = SearchSettings(alpha_lr=3e-3)
    alphas = []
    for supernet in pair(spaces.load(name)):
        learner = Learner(supernet.double(), settings)
        torch.manual_seed(1)
        for _ in range(20):
            train, valid = batch(8), batch(8)
            learner.step(Moment(0), train, valid)
        alphas.append(torch.cat(list(supernet.alphas.parameters())))
    torch.testing.assert_close(alphas[1], alphas[0], rtol=0, atol=1e-7)


def test_alpha_step_computes_no_weight_gradient(fan_out: FanOut) -> None:
    _, engine = pair(small_space("sep_conv_5x5", "dil_conv_3x3"), fan_out)
    whole = copy.deepcopy(engine)
    data = batch(8, dtype=torch.float32)
    for weight in engine.weights:
        weight.requires_grad_(False)
    for supernet in (engine, whole):
        loss(supernet, data).backward()
    assert all(weight.grad is None for weight in engine.weights)
    for found, wanted in zip(engine.alphas.values(), whole.alphas.values(), strict=True):
        torch.testing.assert_close(found.grad, wanted.grad)


class Doubling(nn.Module):
    """An operation that the merged engine knows nothing of."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return 2 * self.scale * x[:, :, :: self.stride, :: self.stride]


def test_unknown_operation_runs_per_edge_and_is_named_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(blocks.OPS, "doubling", lambda channels, stride, affine: Doubling(channels, stride))
    merged.warn_unmerged.cache_clear()
    reference, engine = (supernet.double() for supernet in pair(small_space("sep_conv_3x3", "doubling")))
    data = batch(8)
    for supernet in (engine, reference):
        loss(supernet, data).backward()
    assert_close(engine, reference, 1e-9)
    assert [record.getMessage().split()[1] for record in caplog.records] == ["doubling"]


def test_layers_are_read_at_construction_only(fan_out: FanOut, monkeypatch: pytest.MonkeyPatch) -> None:
    _, engine = pair(spaces.load("darts+asymmetric+harmonious"), fan_out)
    for module, name in ((segments, "terms_of"), (segments, "merge_term"), (blocks.segment, "leaves")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("layers were read again"))
    loss(engine, batch(8, dtype=torch.float32)).backward()


def test_a_copy_is_one_of_its_own(fan_out: FanOut) -> None:
    """A supernet is copied for a trial step; neither sees what happens to the other."""
    _, engine = pair(spaces.load("darts+harmonious"), fan_out)
    data = batch(8, dtype=torch.float32)
    copied, before = copy.deepcopy(engine), copy.deepcopy(engine.state_dict())
    with torch.no_grad():
        for weight in copied.weights:
            weight.mul_(2)
    loss(copied, data).backward()
    assert all(torch.equal(value, before[name]) for name, value in engine.state_dict().items())
    assert all(parameter.grad is None for parameter in engine.parameters())
    copied.load_state_dict(before)
    assert torch.equal(loss(copied, data), loss(engine, data))


def test_one_value_has_no_variance(fan_out: FanOut) -> None:
    module = fan_out(small_space("sep_conv_3x3"), "normal", 0, 8)
    with pytest.raises(ValueError, match="more than 1 value"):
        module(torch.randn(1, 8, 1, 1), torch.rand(5, 3))


def test_bfloat16_goes_to_the_library() -> None:
    reference, engine = pair(spaces.load("darts+sandglass"), channels=8)
    data = batch(8, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, wanted = loss(engine, data), loss(reference, data)
    assert found.item() == pytest.approx(wanted.item(), rel=0.05)


class Plain(Backend):
    """A third back end: each edge's own modules, one after another."""

    def __init__(self, state: Tensor, edges: int) -> None:
        super().__init__(state, edges)
        self.parts: list[Sequence[Tensor]] = []

    @staticmethod
    def available(device: str) -> bool:
        return True

    @staticmethod
    def supports(chain: Chain, state: Tensor) -> bool:
        return not any(segment.odd for segment in chain)

    def maps(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        maps = []
        for edge, x in enumerate(self.states() if starts is None else starts):
            layers: list[nn.Module] = []
            for segment in chain:
                layers += [segment.activation() if segment.activation else nn.Identity()]
                layers += [convolution.modules[edge] for convolution in segment.convolutions]
                layers += [segment.norm.modules[edge]]
            maps.append(row[edge] * nn.Sequential(*layers)(x))
        return maps

    def add(self, chain: Chain, row: Tensor, starts: Sequence[Tensor] | None = None) -> Sequence[Tensor]:
        self.parts.append(self.maps(chain, row, starts))
        return ()

    @property
    def empty(self) -> bool:
        return not self.parts

    def contributions(self, common: Sequence[Summand]) -> list[Contribution]:
        shared = [mix_common(common)] if common else []
        return [pair for maps in (*self.parts, *shared) for pair in enumerate(maps)]


def test_a_third_back_end_can_join() -> None:
    fan_out = partial(MergedFanOut, backends=(Plain, Library))
    reference, engine = (each.double() for each in pair(spaces.load("darts+asymmetric+harmonious"), fan_out))
    data = batch(8)
    for supernet in (engine, reference):
        loss(supernet, data).backward()
    assert_close(engine, reference, 1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["darts", "darts+sandglass"])
def test_float32_at_full_size(name: str, fan_out: FanOut) -> None:
    reference, engine = pair(spaces.load(name), fan_out, channels=16, cells=8)
    engine.to(memory_format=torch.channels_last)
    data = batch(32, images=8, dtype=torch.float32)
    losses = [loss(supernet, data) for supernet in (engine, reference)]
    for each in losses:
        each.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    found, wanted = (
        torch.cat([parameter.grad.flatten() for parameter in supernet.parameters()]) for supernet in (engine, reference)
    )
    assert float((found - wanted).norm() / wanted.norm()) < 1e-2
    for mine, theirs in zip(engine.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("name", "device", "message"), [("fast", "cpu", "must be one of"), ("triton", "cpu", "a GPU")])
def test_a_back_end_that_cannot_be_had(name: str, device: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        merged.check_backend(Execution(device=device, backend=name))
    merged.check_backend(Execution(device=device))


def test_a_run_that_moves_to_another_device_takes_its_back_end() -> None:
    begun = Execution("cuda", backend="triton")
    assert Execution().going_on(begun).backend == "triton"
    assert Execution("cpu").going_on(begun).backend == "auto"
