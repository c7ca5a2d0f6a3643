"""What a search computes, against plain modules and autograd: kernels, gradients of first and second order."""

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.backends import cudnn
from torch.func import functional_call

from nas.bilevel.gradients import Learner
from nas.bilevel.second_order import Batch, constant, hessian_vector
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.doctor.check import Case, Check, Line, broken, ok, warning
from nas.engine.merged import BACKENDS, NEEDS, MergedFanOut
from nas.engine.native.kernels import library
from nas.engine.triton.backend import Triton
from nas.settings import SearchSettings
from nas.space import CellSpace, load

DISTRUST = "searches here are wrong: delete the compiled kernels in ~/.cache/nas and try again, else report it"
BOUND, BOUND_32 = 1e-8, 1e-3
"""Largest share by which a gradient may differ, in float64 and in float32."""
SECOND_ORDER = 1e-3
"""The same of a difference quotient of the second order."""


def engine(backend: str) -> Check:
    """The check of a back end of the merged engine."""

    def check(case: Case) -> Line:
        on_gpu = backend == "triton"
        if on_gpu and not Triton.available(torch.device(case.device).type):
            return ok(f"not there: it needs {NEEDS[backend]}")
        if backend == "native" and library() is None:
            advice = "searches on a CPU take about twice as long; see the compiler's line"
            return warning(f"not there: it needs {NEEDS[backend]}", advice)
        device, dtype = (case.device, torch.float32) if on_gpu else ("cpu", torch.float64)
        with cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            off = distance_of(backend, device, dtype)
        text = f"loss, gradients and batch statistics differ from the reference engine's by {off:.0e}"
        return ok(text) if off <= (BOUND_32 if on_gpu else BOUND) else broken(text, DISTRUST)

    return check


def distance_of(backend: str, device: str, dtype: torch.dtype) -> float:
    """How far a small supernet's loss, gradients and batch statistics are from the reference engine's, at most."""
    space, data = load("darts"), batch(device, dtype)
    merged: FanOut = partial(MergedFanOut, backends=BACKENDS[backend])
    results = []
    for fan_out in (MixedFanOut, merged):
        supernet = small(space, fan_out, 8).to(device, dtype).to(memory_format=torch.channels_last)
        loss = F.cross_entropy(supernet(data[0]), data[1])
        gradients = torch.autograd.grad(loss, [*supernet.architecture, *supernet.weights])
        running = [buffer for buffer in supernet.buffers() if buffer.is_floating_point()]
        alphas = len(supernet.architecture)
        results.append([[loss.detach()], gradients[:alphas], gradients[alphas:], running])
    return max(distance(mine, theirs) for theirs, mine in zip(*results, strict=True))


def first_order(case: Case) -> Line:
    """The lean gradients of both halves of a step against plain backward passes."""
    data, supernet = batch("cpu", torch.float64), small(load("darts"), MergedFanOut, 8).double()
    plain = small(load("darts"), MixedFanOut, 8).double()
    learner, off = Learner(supernet, SearchSettings()), 0.0
    loss = F.cross_entropy(plain(data[0]), data[1])
    for learning, fixed, wanted in (
        (learner.alphas, learner.weights, plain.architecture),
        (learner.weights, learner.alphas, plain.weights),
    ):
        with constant(fixed):
            learner.differentiate(learning, data)
        gradients = [each.grad for each in learning if each.grad is not None]
        off = max(off, distance(gradients, torch.autograd.grad(loss, wanted, retain_graph=True)))
    text = f"alphas' and weights' gradients differ from autograd's by {off:.0e}"
    return ok(text) if off <= BOUND else broken(text, DISTRUST)


def second_order(case: Case) -> Line:
    """The finite difference of the second order against autograd's product with the Hessian (DARTS, Eq. 8).

    With smooth activations and average pooling: with others the difference itself is off by multiples.
    """
    space = CellSpace("smooth", "", 2, {"none": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}})
    supernet, data = small(space, MixedFanOut, 2).double(), batch("cpu", torch.float64)
    smooth(supernet)
    learner = Learner(supernet, SearchSettings(order=2))
    names = [name for name, _ in supernet.network.named_parameters(prefix="network")]
    logits = functional_call(supernet, dict(zip(names, learner.weights, strict=True)), data[0])
    gradients = torch.autograd.grad(F.cross_entropy(logits, data[1]), learner.weights, create_graph=True)
    vector = [gradient.detach() for gradient in gradients]
    exact = torch.autograd.grad(gradients, learner.alphas, grad_outputs=vector)
    off = distance(hessian_vector(learner, data, vector, 1e-3), exact)
    text = f"the Hessian's product differs from autograd's by {off:.0e}"
    return ok(text) if off <= SECOND_ORDER else broken(text, DISTRUST)


def small(space: CellSpace, fan_out: FanOut, channels: int) -> Supernet:
    """A supernet of three cells, with alphas far from uniform; the same weights each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        supernet = Supernet(space, channels=channels, cells=3, fan_out=fan_out)
        for alphas in supernet.alphas.values():
            nn.init.normal_(alphas)
    return supernet


def batch(device: str, dtype: torch.dtype) -> Batch:
    """Four random images of 13 pixels, an odd number, and their labels."""
    stream = torch.Generator().manual_seed(1)
    images, labels = torch.randn(4, 3, 13, 13, generator=stream), torch.randint(10, (4,), generator=stream)
    return images.to(device, dtype), labels.to(device)


def smooth(module: nn.Module) -> None:
    """Puts a smooth function in the place of every ReLU."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        smooth(child)


def distance(mine: Sequence[Tensor], theirs: Sequence[Tensor]) -> float:
    """The norm of the difference as a share of the norm; infinite where there is a NaN."""
    parts = [(one - other).flatten() for one, other in zip(mine, theirs, strict=True)]
    share = float(torch.cat(parts).norm() / torch.cat([other.flatten() for other in theirs]).norm())
    return share if share == share else float("inf")
