"""The reference supernet and the derivation of a genotype from alphas."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from nas.blocks import OPS
from nas.cells.genotype import KINDS, to_text
from nas.cells.supernet import MixedFanOut, Supernet, derive
from nas.errors import UsageError
from nas.space import CellSpace, load

THREE = CellSpace("three", "", 2, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def test_derivation_by_hand() -> None:
    """Node 1 has edges from states 0, 1, 2; ``none`` wins everywhere but is never chosen."""
    strengths = torch.tensor(
        [
            [0.8, 0.1, 0.1],  # node 0 ← 0: a tie between operations: the earlier one
            [0.6, 0.1, 0.3],  # node 0 ← 1: stronger, written first
            [0.7, 0.2, 0.1],  # node 1 ← 0
            [0.1, 0.1, 0.2],  # node 1 ← 1: ties with state 0: the lower state is kept, and first
            [0.1, 0.3, 0.6],  # node 1 ← 2
        ]
    )
    genotype = derive(THREE, {"normal": strengths, "reduce": torch.full((5, 3), 1 / 3)})
    assert genotype.normal.nodes == (
        (("sep_conv_3x3", 1), ("skip_connect", 0)),
        (("sep_conv_3x3", 2), ("skip_connect", 0)),
    )
    assert genotype.reduce.nodes[1] == (("skip_connect", 0), ("skip_connect", 1))
    assert genotype.normal.concat == (2, 3)


def test_settings_travel_with_the_genotype() -> None:
    space = load("darts+sandglass:t=3,identity=0.5")
    weights = torch.zeros(14, 9)
    weights[:, 8] = 1
    genotype = derive(space, dict.fromkeys(KINDS, weights))
    assert genotype.operations == ["sandglass_3x3"]
    assert genotype.ops == {"sandglass_3x3": {"t": 3, "identity": "1/2"}}


def test_mixture_is_the_weighted_sum() -> None:
    torch.manual_seed(0)
    fan_out = MixedFanOut(THREE, "normal", 0, 4)
    state, weights = torch.randn(2, 4, 8, 8), torch.rand(5, 3)
    contributions = dict(fan_out(state, weights))
    for node in (0, 1):
        operations = fan_out.operations(node)
        row = weights[THREE.edge_index(node, 0)]
        expected = row[1] * state + row[2] * operations[2](state)
        assert torch.allclose(contributions[node], expected, atol=1e-6)


def test_alphas_are_shared_and_small() -> None:
    supernet = Supernet(load("darts"), channels=4, cells=4)
    assert [name for name, _ in supernet.alphas.items()] == list(KINDS)
    assert supernet.alphas["normal"].shape == (14, 8)
    assert 0 < supernet.alphas["normal"].std() < 2e-3
    assert not {id(w) for w in supernet.weights} & {id(a) for a in supernet.alphas.values()}


@pytest.mark.parametrize("text", ["darts", "darts+ir+sandglass+harmonious+asymmetric+pruned"])
def test_every_alpha_gets_a_gradient(text: str) -> None:
    torch.manual_seed(0)
    supernet = Supernet(load(text), channels=4, cells=3)
    supernet(torch.randn(2, 3, 16, 16)).square().sum().backward()
    for alpha in supernet.alphas.values():
        assert alpha.grad is not None and alpha.grad.isfinite().all() and (alpha.grad != 0).all()


def test_a_users_operation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPS, "mine", OPS["conv_3x3"])
    space = CellSpace("mine", "", 2, {"none": {}, "mine": {}})
    assert Supernet(space, channels=4, cells=2).genotype().operations == ["mine"]


def test_operations_that_an_edge_does_not_have() -> None:
    """They weigh 0, learn nothing, are no modules, are never derived, and do not count in the entropy."""
    edges = (("skip_connect",), ("none", "sep_conv_3x3"), ("skip_connect", "sep_conv_3x3"), ("sep_conv_3x3",))
    space = replace(THREE, choices={"normal": (*edges, ("none", "skip_connect", "sep_conv_3x3"))})
    torch.manual_seed(0)
    supernet = Supernet(space, channels=4, cells=3).double()
    with torch.no_grad():
        supernet.alphas["normal"].copy_(torch.tensor([[9.0, 1.0, 5.0]] * 5))
    mask, weights = space.mask("normal"), supernet.mixing()["normal"]
    assert mask.sum(1).tolist() == [1, 2, 2, 1, 3] and bool((weights[~mask] == 0).all())
    torch.testing.assert_close(weights.sum(1), torch.ones(5, dtype=torch.float64))
    assert space.mask("reduce").all()
    supernet(torch.randn(2, 3, 8, 8).double()).square().sum().backward()
    grad = supernet.alphas["normal"].grad
    assert grad is not None and bool((grad[~mask] == 0).all()) and bool((grad[[1, 2, 4]][mask[[1, 2, 4]]] != 0).all())
    assert [name for pairs in supernet.genotype().normal.nodes for name, _ in pairs].count("none") == 0
    assert supernet.genotype().normal.nodes[0] == (("skip_connect", 0), ("sep_conv_3x3", 1))
    fan_out = MixedFanOut(space, "normal", 0, 4)
    assert [list(fan_out.operations(node)) for node in (0, 1)] == [[1], [1, 2]]
    named = [name for name in fan_out.state_dict() if name.startswith("edges.1.")]
    assert named and all(name.startswith("edges.1.2.") for name in named)


def test_nas_bench_201() -> None:
    """One kind of cell, all of whose edges stay, ``none`` among them; its cells' batch norms alone are not affine."""
    space = load("nasbench201")
    supernet = Supernet(space, channels=4, cells=3)
    assert {kind: tuple(alpha.shape) for kind, alpha in supernet.alphas.items()} == {"normal": (6, 5)}
    inside = [f".fan_outs.{state}." for state in range(3)]
    for name, module in supernet.network.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.affine is not any(part in name for part in inside), name
    strengths = torch.zeros(6, 5)
    strengths[range(6), [3, 0, 1, 4, 2, 0]] = 1.0
    genotype = derive(space, {"normal": strengths})
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    assert to_text(genotype) == text and genotype.space == "nasbench201"


def test_a_space_of_nothing() -> None:
    with pytest.raises(UsageError, match="at least one operation"):
        CellSpace("nothing", "", 2, {"none": {}})
