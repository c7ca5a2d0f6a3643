"""Partial channels and edge normalisation: counts, both engines, the shuffle by hand, derivation, the settings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from nas.bilevel.build import build_supernet
from nas.bilevel.epoch import alpha_entropy
from nas.cells.genotype import KINDS
from nas.cells.partial import PartialFanOut, shuffle
from nas.cells.supernet import MixedFanOut, Supernet
from nas.errors import UsageError
from nas.presets import resolve_search
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings, make
from nas.space import CellSpace, load
from tests.engine.test_merged import assert_close, batch, loss

THREE = CellSpace("three", "", 2, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def small(engine: str = "reference", space: str = "darts", share: int = 4) -> Supernet:
    """Alphas and betas far from uniform."""
    settings = make(SearchSettings, {"partial": share, "channels": 8, "cells": 3, "engine": engine})
    supernet = build_supernet(settings, load(space), 10)
    torch.manual_seed(0)
    for parameter in supernet.architecture:
        nn.init.normal_(parameter)
    return supernet


def test_the_published_count() -> None:
    supernet = build_supernet(SearchSettings(partial=4), load("darts"), 10)
    assert sum(weight.numel() for weight in supernet.weights) == 299_578
    assert [tuple(parameter.shape) for parameter in supernet.architecture] == [(14, 8), (14, 8), (14,), (14,)]


@pytest.mark.parametrize("size", [16, 13])
@pytest.mark.parametrize(("space", "share"), [("darts", 4), ("darts+sandglass+harmonious", 2)])
def test_engines_agree_in_float64(space: str, share: int, size: int) -> None:
    reference, engine = (small(name, space, share).double() for name in ("reference", "merged"))
    engine.load_state_dict(reference.state_dict())
    data = batch(size)
    losses = [loss(supernet, data) for supernet in (engine, reference)]
    for each in losses:
        each.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-9)
    assert_close(engine, reference, 1e-9)
    assert all(bool((parameter.grad != 0).all()) for parameter in reference.architecture if parameter.grad is not None)


@pytest.mark.parametrize("kind", KINDS)
def test_contributions_by_hand(kind: str) -> None:
    """Channel 4j of eight is the mixture's channel j; the others are those passed, times the edge's weight."""
    torch.manual_seed(0)
    fan_out = PartialFanOut(MixedFanOut, 4, THREE, kind, 0, 8)
    state, weights = torch.randn(2, 8, 5, 5), torch.rand(5, 3)
    inside = dict(fan_out.inner(state[:, :2], weights))
    passed = nn.functional.max_pool2d(state[:, 2:], 2, ceil_mode=True) if kind == "reduce" else state[:, 2:]
    for node, part in fan_out(state, weights):
        edge = weights[THREE.edge_index(node, 0)].sum()
        assert torch.allclose(part[:, [0, 4]], inside[node], atol=1e-6)
        assert torch.allclose(part[:, [1, 5]], edge * passed[:, :2], atol=1e-6)
        assert torch.equal(part, torch.channel_shuffle(torch.cat([inside[node], edge * passed], 1), 4))


def test_shuffle_keeps_the_memory_format() -> None:
    x = torch.randn(2, 8, 4, 4)
    last = x.contiguous(memory_format=torch.channels_last)
    assert torch.equal(shuffle(last, 4), torch.channel_shuffle(x, 4))
    assert shuffle(last, 4).is_contiguous(memory_format=torch.channels_last)


def test_edge_weights_are_a_softmax_per_node_and_decide_the_derivation() -> None:
    supernet = small()
    edge_index = supernet.space.edge_index
    for weights in supernet.mixing().values():
        sums = [float(weights.detach()[edge_index(node, 0) :][: node + 2].sum()) for node in range(4)]
        assert sums == pytest.approx([1.0] * 4)
    with torch.no_grad():
        for kind in KINDS:
            supernet.alphas[kind].zero_()
            supernet.betas[kind].zero_()
            supernet.betas[kind][[edge_index(3, 1), edge_index(3, 4)]] = torch.tensor([1.0, 2.0])
    assert [state for _, state in supernet.genotype().normal.nodes[3]] == [4, 1]
    assert alpha_entropy(supernet) == pytest.approx(torch.log(torch.tensor(8.0)).item())


def test_settings_of_its_own() -> None:
    paper = resolve_search("paper", {"partial": 4})
    assert (paper.batch, paper.lr, paper.lr_min, paper.alpha_lr, paper.alphas_from) == (256, 0.1, 0.0, 6e-4, 15)
    assert resolve_search("paper", {"partial": 2, "batch": 128}, {"batch": None}).batch == 128
    assert resolve_search("paper", {"partial": 1}) == SearchSettings()
    assert resolve_search("quick", {"partial": 4}).batch == resolve_search("quick").batch
    assert resolve_search("paper", {"partial": 4, "epochs": 10}).alphas_from == 3, "a share of the search's length"


@pytest.mark.parametrize(("channels", "share"), [(16, 3), (4, 4)])
def test_channels_must_be_divisible(channels: int, share: int) -> None:
    with pytest.raises(UsageError, match=f"--partial {share}: --channels {channels} must be a multiple"):
        make(SearchSettings, {"channels": channels, "partial": share})


SMALL = ("--data", "digits", "--preset", "quick", "--limit", "32", "--epochs", "2", "--batch", "8", "--channels", "4")


def test_alphas_that_would_never_learn() -> None:
    with pytest.raises(UsageError, match="--alphas-from 15: in --epochs 10"):
        resolve_search("paper", {"partial": 4, "epochs": 10, "alphas_from": 15})


def test_searched_through_the_command_line(nas: Callable[..., tuple[int, str, str]]) -> None:
    status, out, err = nas("search", *SMALL, "--cells", "2", "--partial", "2", "--json")
    assert status == 0, err
    log = Run(Path(json.loads(out)["run"])).log(SearchEpoch)
    assert set(log[0].betas or {}) == set(KINDS) and log[0].betas != log[1].betas
