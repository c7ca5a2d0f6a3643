"""What the network derived of a relaxed cell is expected to cost, and the price that keeps a search to its limits.

The mixture's own cost would count all edges where two a node stay. So the cost is that of the choice instead: of an
operation on each edge, and of the pair of edges that a node keeps.
"""

from collections.abc import Mapping
from dataclasses import astuple
from itertools import combinations

import torch
from torch import Tensor, nn

from nas.amounts import Cost, Limits
from nas.bilevel.derivation import LEAST, EdgeCosts
from nas.moment import Scalar
from nas.skeleton import SKELETONS
from nas.space import CellSpace

SHARP = 1e-6
"""A temperature at which the expected cost is that of the strongest choice."""
TRAVEL = 10.0
"""The dual rate times the steps of a search: a limit overrun by a tenth throughout ends with a price of 1."""


class Budget(nn.Module):
    """Expected costs of the derived network, relative to limits, and their prices (dual variables, saved and resumed).

    Args:
        costs: of the network that the cell is meant for.
        limits: at least one.
        steps: alpha steps of the whole search.
        rate: ρ, by which a price grows a step and unit of relative overrun; None: 10 / steps.
        tau, tau_min: first and last temperature of the choice (linear).
    """

    prices: Tensor
    rest: Tensor
    table: Tensor
    possible: Tensor
    member: Tensor
    absent: Tensor

    def __init__(
        self,
        costs: EdgeCosts,
        limits: Limits,
        *,
        steps: int,
        rate: float | None = None,
        tau: float = 1.0,
        tau_min: float = 0.1,
    ) -> None:
        super().__init__()
        self.rate, self.tau, self.tau_min = TRAVEL / max(1, steps) if rate is None else rate, tau, tau_min
        self.kinds, ops = costs.space.kinds, costs.space.ops
        limited = [column for column, limit in enumerate(astuple(limits)) if limit is not None]
        bounds = torch.tensor([astuple(limits)[column] for column in limited], dtype=torch.float64)
        rows = [[[astuple(edge.get(op, Cost())) for op in ops] for edge in costs.edges[kind]] for kind in self.kinds]
        self.register_buffer("prices", torch.zeros(len(limited), dtype=torch.float64))
        fixed = {
            "rest": torch.tensor(astuple(costs.rest))[limited] / bounds,
            "table": torch.tensor(rows)[..., limited] / bounds,
            "possible": possible_of(costs.space),
            "member": (member := subsets_of(costs.space)),
            "absent": member.sum(-1) == 0,
        }
        for name, tensor in fixed.items():
            self.register_buffer(name, tensor, persistent=False)

    def penalty(self, mixing: Mapping[str, Tensor], progress: Scalar) -> Tensor:
        """Σ price · (expected cost / limit − 1), a scalar, to be added to the alphas' loss.

        Args:
            mixing: per cell kind (edges, operations), from 0 to 1.
            progress: of the search, from 0 to 1.
        """
        excess = self.expected(mixing, self.tau + progress * (self.tau_min - self.tau)) - 1
        return (self.prices * excess).sum()

    @torch.no_grad()
    def update(self, mixing: Mapping[str, Tensor]) -> None:
        """A dual step: μ ← max(0, μ + ρ · (M / B − 1)), M the cost of the strongest choice (You et al., LightNAS)."""
        self.prices.add_(self.rate * (self.expected(mixing, SHARP) - 1)).clamp_(min=0)

    def expected(self, mixing: Mapping[str, Tensor], tau: Scalar) -> Tensor:
        """Expected cost of the derived network over its limit, a number a limit.

        E[M] = M₀ + Σ_kinds Σ_edges r_e Σ_o p′_eo c_eo, exact if each edge draws its operation from p′ ∝ p^(1/τ),
        ``none`` left out, and each node, independently, its pair of edges from q_ef ∝ exp((s_e + s_f)/τ), where
        s_e = log max_o p_eo and r_e = Σ_f q_ef. With τ → 0 it is the cost of the derived network.
        """
        logs = torch.stack([mixing[kind] for kind in self.kinds]).double().clamp_min(LEAST).log()
        logs = logs.masked_fill(~self.possible, -torch.inf)
        operations = (logs / tau).softmax(-1)
        strength = logs.amax(-1)
        subsets = torch.einsum("nse,ke->kns", self.member, strength) / tau
        subsets = subsets.masked_fill(self.absent, -torch.inf).softmax(-1)
        kept = torch.einsum("nse,kns->ke", self.member, subsets)
        return self.rest + torch.einsum("ke,keo,keom->m", kept, operations, self.table)


def possible_of(space: CellSpace) -> Tensor:
    """Whether the edge of a found cell may have an operation: (kinds, edges, operations)."""
    possible = torch.zeros(len(space.kinds), space.edges, len(space.ops), dtype=torch.bool)
    for row, kind in enumerate(space.kinds):
        for edge in range(space.edges):
            possible[row, edge, space.candidates(kind, edge)] = True
    return possible


def subsets_of(space: CellSpace) -> Tensor:
    """Which edges are in which of the subsets that a node may keep: (nodes, most subsets of a node, edges), 1 or 0.

    Rows beyond a node's subsets are 0.
    """
    kept = SKELETONS[space.skeleton].inputs_kept
    edges = [[space.edge_index(node, state) for state in range(node + space.inputs)] for node in range(space.nodes)]
    subsets = [list(combinations(own, len(own) if kept is None else min(kept, len(own)))) for own in edges]
    member = torch.zeros(space.nodes, max(map(len, subsets)), space.edges, dtype=torch.float64)
    for node, own in enumerate(subsets):
        for place, subset in enumerate(own):
            member[node, place, list(subset)] = 1
    return member
