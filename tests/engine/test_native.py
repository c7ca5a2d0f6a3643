"""The compiled kernels: every geometry against plain modules, any number of threads, machines without a compiler."""

import logging
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import space as spaces
from nas.cells.supernet import Supernet
from nas.engine import merged, native
from nas.engine.chains import layers_of
from nas.engine.compiled import CompiledMix, Plan, can_compile, parts_of

EDGES = 2
needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C++ compiler")


def depthwise(
    channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int | None = None
) -> nn.Module:
    padding = (kernel - 1) * dilation // 2 if padding is None else padding
    return nn.Conv2d(channels, channels, kernel, stride, padding, dilation, channels, bias=False)


def pointwise(c_in: int, c_out: int) -> nn.Module:
    return nn.Conv2d(c_in, c_out, 1, bias=False)


def norm(channels: int) -> nn.Module:
    return nn.BatchNorm2d(channels, affine=False)


CHAINS = {
    "3x3": lambda: [nn.ReLU(), depthwise(8, 3), pointwise(8, 8), norm(8)],
    "5x5, stride 2": lambda: [nn.ReLU(), depthwise(8, 5, stride=2), pointwise(8, 8), norm(8)],
    "7x7": lambda: [depthwise(4, 7), norm(4)],
    "dilated": lambda: [nn.ReLU(), depthwise(4, 5, dilation=2), pointwise(4, 4), norm(4)],
    "dilated, stride 2": lambda: [depthwise(4, 3, stride=2, dilation=2), norm(4)],
    "no padding": lambda: [depthwise(4, 3, padding=0), norm(4)],
    "full padding": lambda: [depthwise(4, 3, padding=2), norm(4)],
    "inverted": lambda: [
        *(pointwise(4, 12), norm(12), nn.ReLU6()),
        *(depthwise(12, 3), norm(12), nn.ReLU6(), pointwise(12, 4), norm(4)),
    ],
    "wide": lambda: [nn.ReLU(), depthwise(32, 3), pointwise(32, 16), norm(16), nn.ReLU(), pointwise(16, 48), norm(48)],
}


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("images", [1, 2, 19])
@pytest.mark.parametrize("name", CHAINS)
def test_equals_plain_modules(name: str, images: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    chains = [nn.Sequential(*CHAINS[name]()).to(dtype) for _ in range(EDGES)]
    plan = plan_of(chains)
    x = (2 * torch.randn(images, plan.chains[0][0].channels[0], 9, 11, dtype=dtype) + 1).requires_grad_()
    weights = torch.rand(1, EDGES, dtype=dtype, requires_grad=True)
    expected = [weight * chain(x) for weight, chain in zip(weights[0], chains, strict=True)]
    parameters = [x, weights, *(parameter for chain in chains for parameter in chain.parameters())]
    grads = [torch.randn_like(each) for each in expected]
    wanted = torch.autograd.grad(expected, parameters, grads)
    running = [buffer.clone() for chain in chains for buffer in chain.buffers()]
    for chain in chains:
        for module in chain:
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
    assert can_compile(x, plan.chains[0])
    state = x.contiguous(memory_format=torch.channels_last)
    found = CompiledMix.apply(plan, state, weights, *plan.parameters)
    gradients = torch.autograd.grad(found, parameters, grads)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    for mine, theirs in zip([*found, *gradients], [*expected, *wanted], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * max(1.0, float(theirs.detach().abs().max())))
    for mine, theirs in zip((buffer for chain in chains for buffer in chain.buffers()), running, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


def plan_of(chains: list[nn.Sequential]) -> Plan:
    parts = parts_of(layers_of(chains) or [])
    assert parts is not None
    return Plan(len(chains), [parts])


@needs_compiler
def test_nothing_hides_a_nan() -> None:
    chains = [nn.Sequential(*CHAINS["3x3"]()) for _ in range(EDGES)]
    x = torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    x[0, :, 3, 3] = torch.nan
    plan = plan_of(chains)
    assert all(each.isnan().all() for each in CompiledMix.apply(plan, x, torch.ones(1, EDGES), *plan.parameters))


def test_what_has_no_kernel_is_left_to_the_library() -> None:
    for conv in (nn.Conv2d(4, 4, (1, 7), padding=(0, 3), bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)):
        assert parts_of([(conv,), (norm(4),)]) is None
    parts = parts_of([(depthwise(6, 3),), (norm(6),)])
    assert parts is not None and not can_compile(torch.zeros(1, 6, 8, 8), parts)
    assert not can_compile(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), parts)


@needs_compiler
def test_the_variance_of_a_map_with_an_outlier() -> None:
    """Padding makes a corner one; everything else is nearly constant."""
    (layers,) = chains = [nn.Sequential(nn.ReLU(), pointwise(4, 4), norm(4))]
    x = 5 + 0.01 * torch.rand(2, 4, 112, 112)
    x[:, :, 0, 0] = 0
    with torch.no_grad():
        CompiledMix.apply(plan := plan_of(chains), x, torch.ones(1, 1), *plan.parameters)
        wanted = layers[1](x).double().var((0, 2, 3))
    torch.testing.assert_close((layers[2].running_var.double() - 0.9) / 0.1, wanted, rtol=1e-3, atol=1e-6)


@needs_compiler
def test_sizes_without_a_variance() -> None:
    chains = [nn.Sequential(nn.ReLU(), depthwise(4, 3), pointwise(4, 4), norm(4))]
    plan = plan_of(chains)
    with pytest.raises(ValueError, match="more than 1 value"):
        CompiledMix.apply(plan, torch.randn(1, 4, 1, 1), torch.ones(1, 1), *plan.parameters)
    chains[0].eval()
    (none,) = CompiledMix.apply(plan, torch.randn(0, 4, 5, 5, requires_grad=True), torch.ones(1, 1), *plan.parameters)
    none.sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in plan.parameters)


@needs_compiler
def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    chains = [nn.Sequential(*CHAINS["3x3"]()) for _ in range(EDGES)]
    x = torch.randn(5, 8, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.rand(1, EDGES, requires_grad=True)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        plan = plan_of(chains)
        out = CompiledMix.apply(plan, x, weights, *plan.parameters)
        loss = sum((each * each).sum() for each in out)
        assert isinstance(loss, Tensor)
        results.append([*out, *torch.autograd.grad(loss, [x, weights, *plan.parameters])])
    torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@needs_compiler
def test_all_chains_of_darts_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merged, "run_shared", lambda *_: pytest.fail("a chain ran without compiled kernels"))
    supernet = Supernet(spaces.load("darts+sandglass+ir+asymmetric"), channels=8, cells=3, fan_out=merged.MergedFanOut)
    F.cross_entropy(supernet(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1])).backward()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled files, which are made without delay."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(native, "OPTIONS", tuple(option.replace("-O3", "-O0") for option in native.OPTIONS))
    return tmp_path / "nas"


def find() -> object:
    """As a process does at its start."""
    return native.library.__wrapped__()


def test_without_a_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CXX", "")
    assert find() is None and not caplog.records
    for compiler in ("no-such-compiler", "false", 'c++ "'):
        monkeypatch.setenv("CXX", compiler)
        assert find() is None
    assert [record.levelno for record in caplog.records] == 3 * [logging.WARNING]
    assert not list(fresh.glob("*"))


@needs_compiler
def test_compiles_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find() is not None
    (made,) = fresh.glob("*")
    monkeypatch.setattr(native.subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert find() is not None
    assert list(fresh.glob("*")) == [made]


@needs_compiler
def test_a_damaged_file_is_compiled_anew(fresh: Path) -> None:
    assert find() is not None
    (kept,) = fresh.glob("*")
    whole = kept.read_bytes()
    kept.unlink()  # it is loaded
    kept.write_bytes(whole[:5000])  # loading this would kill the process
    assert find() is not None
    assert list(fresh.glob("*")) == [kept] and kept.stat().st_size > 5000


@needs_compiler
def test_a_compiler_without_openmp(fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = tmp_path / "compiler"
    compiler.write_text('#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec c++ "$@"\n')
    compiler.chmod(0o755)
    monkeypatch.setenv("CXX", f"{compiler} -w")
    assert find() is not None


@needs_compiler
def test_nowhere_to_keep_them(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert find() is not None
    assert not fresh.exists()


@needs_compiler
def test_what_cannot_be_loaded(fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def compiled(command: list[str], **_: object) -> None:
        Path(command[command.index("-o") + 1]).write_bytes(b"damaged")

    monkeypatch.setattr(native.subprocess, "run", compiled)
    assert find() is None
    assert "half the speed" in caplog.text
    assert not list(fresh.glob("*"))
