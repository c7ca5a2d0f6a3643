"""A whole step on fake CUDA tensors: where a tensor is left on the CPU, or a type or shape is not kept, it fails."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from benchmarks.fake_gpu import fake_gpu, move
from nas import space as spaces
from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Learner
from nas.moment import Moment
from nas.presets import resolve_search

FAMILIES = {
    "sandglass": ["none", "skip_connect", "max_pool_3x3", "dil_conv_3x3"],
    "ir": ["skip_connect"],
    "asymmetric": ["skip_connect"],
    "harmonious": ["skip_connect"],
}
"""A family of blocks, and what is searched beside it."""
ENGINES = ["reference", "library", "triton"]
"""The reference engine, and back ends of the merged one."""
EVERY = pytest.mark.parametrize(
    ("engine", "precision"), [(engine, precision) for engine in ENGINES for precision in ("fp32", "bf16")]
)


def traits(tensors: dict[str, Tensor]) -> dict[str, tuple[str, torch.dtype, torch.Size]]:
    return {name: (str(each.device), each.dtype, each.shape) for name, each in tensors.items()}


def check_step(family: str, engine: str, precision: str, **settings: int) -> None:
    """One step leaves gradients, statistics and moments on the GPU, of the types and shapes of what they are of."""
    if engine == "triton" and find_spec("triton") is None:
        pytest.skip("there is no Triton")
    size = {"channels": 8, "cells": 3, "precision": precision, "alphas_from": 0}
    text = "reference" if engine == "reference" else "merged"
    chosen = resolve_search("paper", {"engine": text, **size, **settings})
    whole = spaces.load(f"darts+{family}")
    names = {*FAMILIES[family], *(set(whole.ops) - set(spaces.load("darts").ops))}
    space = replace(whole, nodes=2, ops={name: settings for name, settings in whole.ops.items() if name in names})
    supernet = build_supernet(chosen, space, 10, backend="auto" if engine == "reference" else engine)
    supernet.to(memory_format=torch.channels_last)
    with fake_gpu() as fake:
        move(supernet, fake)
        learner = Learner(supernet, chosen, "cuda")
        parameters, buffers = traits(dict(supernet.named_parameters())), traits(dict(supernet.named_buffers()))
        batch = torch.randn(4, 3, 32, 32, device="cuda"), torch.randint(10, (4,), device="cuda")
        loss, logits = learner.step(Moment(0), batch, batch)
    assert (loss.device.type, loss.dtype, logits.device.type, logits.shape) == ("cuda", torch.float32, "cuda", (4, 10))
    assert {place for place, *_ in (*parameters.values(), *buffers.values())} == {"cuda:0"}
    gradients = {name: each.grad for name, each in supernet.named_parameters() if each.grad is not None}
    assert traits(gradients) == parameters
    assert traits(dict(supernet.named_buffers())) == buffers
    for optimizer in (learner.weight_optimizer, learner.alpha_optimizer):
        for parameter, state in optimizer.state.items():
            moments = {name: each for name, each in state.items() if name != "step"}
            assert set(traits(moments).values()) == {("cuda:0", parameter.dtype, parameter.shape)}


@EVERY
@pytest.mark.parametrize("family", FAMILIES)
def test_a_step_stays_on_the_gpu(family: str, engine: str, precision: str) -> None:
    check_step(family, engine, precision)


@EVERY
def test_so_does_one_of_partial_channels(engine: str, precision: str) -> None:
    check_step("sandglass", engine, precision, partial=2)


@EVERY
def test_so_does_one_of_second_order(engine: str, precision: str) -> None:
    check_step("ir", engine, precision, order=2)


def test_a_tensor_left_behind_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    def left(rows: Sequence[Tensor], channels: int, *_: object) -> tuple[Tensor, None]:
        return torch.ones(len(rows), len(rows[0]) * channels), None

    monkeypatch.setattr("nas.engine.library.backend.spread_rows", left)
    with pytest.raises(RuntimeError, match="device"):
        check_step("ir", "library", "fp32")
