"""The compiled kernels: every geometry against plain modules, any number of threads, machines without a compiler."""

import ctypes
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas import space as spaces
from nas.blocks.layers import FactorizedReduce
from nas.cells.supernet import Supernet
from nas.engine.backend import Backend, Chain
from nas.engine.library import backend as library
from nas.engine.merged import MergedFanOut
from nas.engine.native import compiler, kernels
from nas.engine.native.backend import Native
from nas.engine.native.pools import PoolFunction
from tests.engine.chains import AFFINE, CHAINS, affine, chain_of, depthwise, norm, pointwise

EDGES = 2
CHANNELS = {
    "36 and 12 channels": lambda: [nn.ReLU(), depthwise(36, 3), pointwise(36, 12), norm(12)],
    "7 and 3 channels": lambda: [depthwise(7, 5, dilation=2), pointwise(7, 3), affine(3)],
    "24 channels": lambda: [nn.ReLU(), depthwise(24, 5), norm(24), nn.ReLU(), depthwise(24, 7), norm(24)],
}
"""Numbers of channels that take vectors of several widths."""
REDUCTIONS = {
    "reduction, 8 and 12 channels": lambda: FactorizedReduce(8, 12, affine=False),
    "reduction, 5 and 7 channels": lambda: FactorizedReduce(5, 7, affine=False),
}
needs_compiler = pytest.mark.skipif(kernels.library() is None, reason="no C++ compiler")


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("images", [1, 2, 19])
@pytest.mark.parametrize("name", [*CHAINS, *AFFINE, *CHANNELS, *REDUCTIONS])
@pytest.mark.parametrize("backend", [Native, library.Library])
def test_equals_plain_modules(backend: type[Backend], name: str, images: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    layers = CHAINS | AFFINE | CHANNELS
    chains = [REDUCTIONS[name]() if name in REDUCTIONS else nn.Sequential(*layers[name]()) for _ in range(EDGES)]
    merged = chain_of([chain.to(dtype) for chain in chains])
    sides = (8, 10) if name in REDUCTIONS else (9, 11)
    x = (2 * torch.randn(images, merged[0].channels[0], *sides, dtype=dtype) + 1).requires_grad_()
    weights = torch.rand(1, EDGES, dtype=dtype, requires_grad=True)
    expected = [weight * chain(x) for weight, chain in zip(weights[0], chains, strict=True)]
    parameters = [x, weights, *(parameter for chain in chains for parameter in chain.parameters())]
    grads = [torch.randn_like(each) for each in expected]
    wanted = torch.autograd.grad(expected, parameters, grads)
    running = [buffer.clone() for chain in chains for buffer in chain.buffers()]
    for chain in chains:
        for module in chain.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.reset_running_stats()
    assert backend.supports(merged, x)
    found = summed(merged, x.contiguous(memory_format=torch.channels_last), weights, backend)
    gradients = torch.autograd.grad(found, parameters, grads)
    tolerance = 1e-11 if dtype == torch.float64 else 1e-4
    for mine, theirs in zip([*found, *gradients], [*expected, *wanted], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=tolerance * max(1.0, float(theirs.detach().abs().max())))
    for mine, theirs in zip((buffer for chain in chains for buffer in chain.buffers()), running, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@needs_compiler
@pytest.mark.parametrize("backend", [Native, library.Library])
@pytest.mark.parametrize("name", AFFINE)
def test_affine_in_evaluation(name: str, backend: type[Backend]) -> None:
    torch.manual_seed(0)
    chains = [nn.Sequential(*AFFINE[name]()).double() for _ in range(EDGES)]
    x = torch.randn(3, 8 if name == "affine" else 4, 7, 7, dtype=torch.float64, requires_grad=True)
    weights = torch.rand(1, EDGES, dtype=torch.float64, requires_grad=True)
    for chain in chains:
        chain(x)  # moves the running statistics off 0 and 1
        chain.eval()
    expected = [weight * chain(x) for weight, chain in zip(weights[0], chains, strict=True)]
    found = summed(chain_of(chains), x.contiguous(memory_format=torch.channels_last), weights, backend)
    parameters = [x, weights, *(parameter for chain in chains for parameter in chain.parameters())]
    grads = [torch.randn_like(each) for each in expected]
    wanted, gradients = (torch.autograd.grad(each, parameters, grads) for each in (expected, found))
    for mine, theirs in zip([*found, *gradients], [*expected, *wanted], strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-11 * max(1.0, float(theirs.detach().abs().max())))


@needs_compiler
@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("backend", [Native, library.Library])
def test_the_states_gradient_where_no_weight_has_one(backend: type[Backend], name: str) -> None:
    """As in the alphas' half of a step."""
    torch.manual_seed(0)
    chains = [nn.Sequential(*CHAINS[name]()).double().requires_grad_(False) for _ in range(EDGES)]
    merged = chain_of(chains)
    x = (4 * torch.randn(3, merged[0].channels[0], 8, 8, dtype=torch.float64)).requires_grad_()
    expected = [chain(x) for chain in chains]
    grads = [torch.randn_like(each) for each in expected]
    (wanted,) = torch.autograd.grad(expected, x, grads)
    found = summed(merged, x.contiguous(memory_format=torch.channels_last), torch.ones(1, EDGES).double(), backend)
    (mine,) = torch.autograd.grad(found, x, grads)
    torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-11 * max(1.0, float(wanted.abs().max())))


def summed(chain: Chain, x: Tensor, weights: Tensor, backend: type[Backend] = Native) -> Sequence[Tensor]:
    """The chain alone, by a back end; weights (1, edges)."""
    return backend(x, weights.shape[1]).maps(chain, weights[0])


@needs_compiler
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("stride", [1, 2])
def test_poolings_equal_torchs(stride: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 21, 9, 6, dtype=dtype).relu().contiguous(memory_format=torch.channels_last)  # with ties
    x[0, :, 3, 3] = torch.nan
    x.requires_grad_()
    expected = F.max_pool2d(x, 3, stride, 1), F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    found = PoolFunction.apply(x, stride)
    grads = [torch.randn_like(each) for each in expected]
    wanted, gradients = (torch.autograd.grad(each, x, grads) for each in (expected, found))
    for mine, theirs in zip([*found, *gradients], [*expected, *wanted], strict=True):
        torch.testing.assert_close(mine, theirs, equal_nan=True)


@needs_compiler
def test_nothing_hides_a_nan() -> None:
    chains = [nn.Sequential(*CHAINS["3x3"]()) for _ in range(EDGES)]
    x = torch.randn(2, 8, 8, 8).contiguous(memory_format=torch.channels_last)
    x[0, :, 3, 3] = torch.nan
    assert all(each.isnan().all() for each in summed(chain_of(chains), x, torch.ones(1, EDGES)))


def test_what_has_no_kernel_is_left_to_the_library() -> None:
    for conv in (nn.Conv2d(4, 4, (1, 7), padding=(0, 3), bias=False), nn.Conv2d(4, 4, 3, padding=1, bias=False)):
        (segment,) = chain_of([nn.Sequential(conv, norm(4))])
        assert not segment.fusable and not Native.supports([segment], torch.zeros(1, 4, 8, 8))
    (segment,) = chain_of([nn.Sequential(pointwise(4, 4), depthwise(4, 3), norm(4))])
    assert not segment.fusable
    four = chain_of([nn.Sequential(depthwise(4, 3), norm(4))])
    assert not Native.supports(four, torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16))
    assert not Native.supports(four, torch.zeros(1, 4, 8, 8, device="meta"))


@needs_compiler
def test_the_variance_of_a_map_with_an_outlier() -> None:
    """Padding makes a corner one; everything else is nearly constant."""
    (layers,) = chains = [nn.Sequential(nn.ReLU(), pointwise(4, 4), norm(4))]
    x = 5 + 0.01 * torch.rand(2, 4, 112, 112)
    x[:, :, 0, 0] = 0
    with torch.no_grad():
        summed(chain_of(chains), x, torch.ones(1, 1))
        wanted = layers[1](x).double().var((0, 2, 3))
    torch.testing.assert_close((layers[2].running_var.double() - 0.9) / 0.1, wanted, rtol=1e-3, atol=1e-6)


@needs_compiler
def test_sizes_without_a_variance() -> None:
    chains = [nn.Sequential(nn.ReLU(), depthwise(4, 3), pointwise(4, 4), norm(4))]
    chain = chain_of(chains)
    with pytest.raises(ValueError, match="more than 1 value"):
        summed(chain, torch.randn(1, 4, 1, 1), torch.ones(1, 1))
    chains[0].eval()
    (none,) = summed(chain, torch.randn(0, 4, 5, 5, requires_grad=True), torch.ones(1, 1))
    none.sum().backward()
    assert all(weight.grad is not None and not weight.grad.any() for weight in chains[0].parameters())


@needs_compiler
def test_the_number_of_threads_changes_no_bit() -> None:
    torch.manual_seed(0)
    chains = [nn.Sequential(*CHAINS["3x3"]()) for _ in range(EDGES)]
    x = torch.randn(5, 8, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    weights = torch.rand(1, EDGES, requires_grad=True)
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        out = summed(chain_of(chains), x, weights)
        loss = sum((each * each).sum() for each in out)
        assert isinstance(loss, Tensor)
        parameters = [parameter for chain in chains for parameter in chain.parameters()]
        results.append([*out, *torch.autograd.grad(loss, [x, weights, *parameters])])
    torch.set_num_threads(1)
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


@needs_compiler
def test_all_chains_of_darts_and_of_the_blocks_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("start", "convolve"):
        owner = library.Library if name == "start" else library
        monkeypatch.setattr(owner, name, lambda *_: pytest.fail("a chain ran without compiled kernels"))
    space = spaces.load("darts+sandglass+ir+asymmetric+pruned+harmonious")
    supernet = Supernet(space, channels=8, cells=3, fan_out=MergedFanOut)
    F.cross_entropy(supernet(torch.randn(2, 3, 8, 8)), torch.tensor([0, 1])).backward()


def test_library_kernels_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(library.Library, "start", lambda *_: pytest.fail("a chain ran without compiled kernels"))
    fan_out = partial(MergedFanOut, backends=(library.Library,))
    supernet = Supernet(spaces.load("darts"), channels=4, cells=3, fan_out=fan_out)
    with pytest.raises(pytest.fail.Exception):
        supernet(torch.randn(2, 3, 8, 8))


@needs_compiler
@pytest.mark.parametrize("name", kernels.LAYOUTS)
def test_a_changed_structure_is_an_error(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changed = type("Changed", (kernels.LAYOUTS[name],), {"_fields_": (("more", kernels.INTEGER),)})
    monkeypatch.setitem(kernels.LAYOUTS, name, changed)
    with pytest.raises(RuntimeError, match=rf"{name}.*\({kernels.VERSION}, {ctypes.sizeof(changed)}\)"):
        kernels.library.__wrapped__()


@needs_compiler
def test_another_version_of_the_structures_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "VERSION", kernels.VERSION + 1)
    with pytest.raises(RuntimeError, match="segment_layout"):
        kernels.library.__wrapped__()


def test_an_unknown_field_is_an_error() -> None:
    with pytest.raises(AttributeError):
        kernels.fill(kernels.MixFields(), no_such_field=None)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for compiled files, which are made without delay."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(compiler, "OPTIONS", tuple(option.replace("-O3", "-O0") for option in compiler.OPTIONS))
    return tmp_path / "nas"


def find() -> object:
    """As a process does at its start."""
    return compiler.library()


def test_without_a_compiler(fresh: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("CXX", "")
    assert find() is None and not caplog.records
    for command in ("no-such-compiler", "false", 'c++ "'):
        monkeypatch.setenv("CXX", command)
        assert find() is None
    assert [record.levelno for record in caplog.records] == 3 * [logging.WARNING]
    assert not list(fresh.glob("*"))


@needs_compiler
def test_compiles_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert find() is not None
    (made,) = fresh.glob("*")
    monkeypatch.setattr(compiler.subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
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
    script = tmp_path / "compiler"
    script.write_text('#!/bin/sh\ncase "$*" in *-fopenmp*) exit 1;; esac\nexec c++ "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("CXX", f"{script} -w")
    assert find() is not None


@needs_compiler
def test_another_edition_of_the_compiler_compiles_anew(fresh: Path, tmp_path: Path) -> None:
    script = tmp_path / "compiler"
    script.write_text('#!/bin/sh\nexec c++ "$@"\n')
    script.chmod(0o755)
    first = compiler._name([str(script)])
    assert compiler._name([str(script)]) == first
    script.write_text('#!/bin/sh\nexec c++ "$@" # updated\n')
    assert compiler._name([str(script)]) != first


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

    monkeypatch.setattr(compiler.subprocess, "run", compiled)
    assert find() is None
    assert "half the speed" in caplog.text
    assert not list(fresh.glob("*"))


@needs_compiler
@pytest.mark.parametrize("foreign", [0o775, 0o757])
def test_what_others_could_have_written_is_not_loaded(fresh: Path, foreign: int) -> None:
    assert find() is not None
    (kept,) = fresh.glob("*")
    kept.chmod(foreign)
    assert compiler._load(["c++"]) is None
