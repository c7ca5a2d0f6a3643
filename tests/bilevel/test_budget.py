"""The expected cost of the derived network: its law by enumeration, its limits, its gradient, its price."""

from itertools import combinations, product

import pytest
import torch
from torch import Tensor

from nas.amounts import Cost, Limits
from nas.bilevel.budget import SHARP, Budget
from nas.bilevel.derivation import EdgeCosts
from nas.cells.genotype import KINDS
from nas.cells.supernet import derive
from nas.space import CellSpace, load
from tests.bilevel.random_cells import random_costs, random_strengths

THREE = CellSpace("three", "", 2, {"skip_connect": {}, "none": {}, "conv_3x3": {}})


def random_mixing(space: CellSpace, stream: torch.Generator) -> dict[str, Tensor]:
    return {kind: weights.double() for kind, weights in random_strengths(space, stream).items()}


def by_enumeration(space: CellSpace, mixing: dict[str, Tensor], costs: EdgeCosts, tau: float) -> float:
    """Σ over all outcomes of probability · multiply-adds, node by node: pairs and operations drawn independently."""
    names = list(space.ops)
    total = float(costs.rest.madds)
    for kind, node in product(KINDS, range(space.nodes)):
        rows = [space.edge_index(node, state) for state in range(node + 2)]
        law, strength = {}, {}
        for row in rows:
            p = {name: float(mixing[kind][row, names.index(name)]) for name in names if name != "none"}
            sharp = {name: value ** (1 / tau) for name, value in p.items()}
            law[row] = {name: value / sum(sharp.values()) for name, value in sharp.items()}
            strength[row] = max(p.values())
        pairs = {pair: (strength[pair[0]] * strength[pair[1]]) ** (1 / tau) for pair in combinations(rows, 2)}
        for (one, other), weight in pairs.items():
            for a, b in product(law[one], law[other]):
                probability = weight / sum(pairs.values()) * law[one][a] * law[other][b]
                total += probability * (costs.edges[kind][one][a].madds + costs.edges[kind][other][b].madds)
    return total


@pytest.mark.parametrize("tau", [1.0, 0.3])
def test_it_is_exact_under_independent_draws(tau: float) -> None:
    stream = torch.Generator().manual_seed(0)
    costs, mixing = random_costs(THREE, stream), random_mixing(THREE, stream)
    budget = Budget(costs, Limits(madds=50), steps=1)
    (found,) = (50 * budget.expected(mixing, tau)).tolist()
    assert found == pytest.approx(by_enumeration(THREE, mixing, costs, tau), rel=1e-12)


@pytest.mark.parametrize("text", ["darts", "darts+sandglass", "s2", "nasbench201"])
def test_it_tends_to_the_derived_networks_cost(text: str) -> None:
    space, stream = load(text), torch.Generator().manual_seed(1)
    costs, mixing = random_costs(space, stream), random_mixing(space, stream)
    derived = costs.of(derive(space, mixing))
    budget = Budget(costs, Limits(1000, 10), steps=1)
    wanted = torch.tensor([derived.madds / 1000, derived.params / 10], dtype=torch.float64)
    gaps = [float((budget.expected(mixing, tau) - wanted).abs().max()) for tau in (1.0, 0.01, SHARP)]
    assert gaps[0] > gaps[1] > gaps[2] and gaps[2] < 1e-12


def test_none_counts_neither_by_its_cost_nor_by_its_weight() -> None:
    stream = torch.Generator().manual_seed(2)
    costs, mixing = random_costs(THREE, stream), random_mixing(THREE, stream)
    budget = Budget(costs, Limits(madds=50), steps=1)
    before = budget.expected(mixing, 1.0)
    changed = {kind: weights.clone() for kind, weights in mixing.items()}
    for weights in changed.values():
        weights[:, 1] = torch.rand(THREE.edges, generator=stream, dtype=torch.float64)
    assert torch.equal(budget.expected(changed, 1.0), before)


@pytest.mark.parametrize("limits", [Limits(madds=300), Limits(params=40), Limits(300, 40)])
def test_its_gradient(limits: Limits) -> None:
    stream = torch.Generator().manual_seed(3)
    budget = Budget(random_costs(THREE, stream), limits, steps=1)
    budget.prices += torch.rand(budget.prices.shape, generator=stream, dtype=torch.float64)
    normal, reduce = (weights.requires_grad_() for weights in random_mixing(THREE, stream).values())
    assert torch.autograd.gradcheck(
        lambda normal, reduce: budget.penalty({"normal": normal, "reduce": reduce}, 0.5), (normal, reduce)
    )


def test_a_weight_of_zero_leaves_the_gradient_finite() -> None:
    stream = torch.Generator().manual_seed(4)
    budget = Budget(random_costs(THREE, stream), Limits(madds=50), steps=1)
    budget.prices += 1
    mixing = {kind: torch.zeros(THREE.edges, 3, requires_grad=True) for kind in KINDS}
    budget.penalty(mixing, 1.0).backward()
    assert all(weights.grad is not None and weights.grad.isfinite().all() for weights in mixing.values())


def test_a_price_rises_while_its_limit_is_overrun_and_falls_to_zero() -> None:
    space, stream = load("darts"), torch.Generator().manual_seed(5)
    costs, mixing = random_costs(space, stream), random_mixing(space, stream)
    derived = costs.of(derive(space, mixing))
    over, under = Limits(derived.madds // 2, derived.params * 2), Limits(derived.madds * 2, derived.params * 2)
    budget = Budget(costs, over, steps=40)
    assert budget.penalty(mixing, 0.0) == 0
    for _ in range(4):
        budget.update(mixing)
    assert float(budget.prices[0]) == pytest.approx(4 * 10 / 40 * (derived.madds / over.madds - 1))
    assert float(budget.prices[1]) == 0
    assert budget.penalty(mixing, 0.5) == budget.prices[0] * (budget.expected(mixing, 0.55)[0] - 1)

    cheap = Budget(costs, under, steps=40)
    cheap.load_state_dict(budget.state_dict())
    assert torch.equal(cheap.prices, budget.prices), "what a resumed search goes on with"
    for _ in range(40):
        cheap.update(mixing)
    assert not cheap.prices.any()


def test_it_pulls_the_alphas_towards_what_is_cheap() -> None:
    """Two operations, one dear: under the penalty alone the dear one's alpha falls, and the price stops it at once."""
    space = CellSpace("two", "", 1, {"skip_connect": {}, "conv_3x3": {}})
    edge = {"skip_connect": Cost(), "conv_3x3": Cost(10)}
    costs = EdgeCosts(space, Cost(10), {kind: [edge, edge] for kind in KINDS})
    alphas = {kind: torch.tensor([[0.0, 1.0]] * 2, requires_grad=True) for kind in KINDS}
    budget = Budget(costs, Limits(madds=15), steps=100)
    optimizer = torch.optim.SGD(alphas.values(), lr=0.1)
    for step in range(100):
        mixing = {kind: alpha.softmax(-1) for kind, alpha in alphas.items()}
        optimizer.zero_grad()
        budget.penalty(mixing, step / 100).backward()
        optimizer.step()
        budget.update({kind: alpha.softmax(-1) for kind, alpha in alphas.items()})
    assert costs.of(derive(space, {kind: alpha.detach().softmax(-1) for kind, alpha in alphas.items()})).madds == 10
