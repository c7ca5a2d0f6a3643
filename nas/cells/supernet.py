"""The supernet: every edge a softmax-weighted mix of all operations of the space (Liu et al., DARTS, Eq. 2)."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks import OPS
from nas.cells.genotype import KINDS, Cell, Genotype
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.space import CellSpace


def edge_index(node: int, state: int) -> int:
    """Row of the edge state → node in the alphas: edges are ordered by node, then state."""
    return node * (node + 3) // 2 + state


class MixedFanOut(nn.Module):
    """All that leaves one state, one module per edge and operation: the readable text, and the oracle of every test.

    Args:
        space: its nodes and operations.
        state: index of the state.
        channels: C.
        stride: of all its edges.
    """

    def __init__(self, space: CellSpace, state: int, channels: int, stride: int) -> None:
        super().__init__()
        self.state = state
        self.readers = range(max(0, state - 1), space.nodes)
        self.edges = nn.ModuleDict(
            {
                str(node): nn.ModuleList(
                    OPS[op](channels, stride, False, **settings) for op, settings in space.ops.items()
                )
                for node in self.readers
            }
        )

    def forward(self, state: Tensor, weights: Tensor) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) and the cell's mixing weights (edges, operations) → (node, contribution) pairs."""
        return [(node, self.mix(node, state, weights[edge_index(node, self.state)])) for node in self.readers]

    def mix(self, node: int, state: Tensor, weights: Tensor) -> Tensor:
        """Σ_o weight_o · o(state) over the operations of one edge."""
        operations = cast(nn.ModuleList, self.edges[str(node)])
        return torch.stack([weight * op(state) for weight, op in zip(weights, operations, strict=True)]).sum(0)


FanOut = Callable[[CellSpace, int, int, int], nn.Module]


class Softmax:
    """What makes mixing weights of alphas: the softmax over an edge's operations, ``none`` included (Eq. 2)."""

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        """The alphas of a cell kind, (edges, operations) → what its fan-outs weigh with now, a row an edge."""
        return self.strengths(alphas)

    def strengths(self, alphas: Tensor) -> Tensor:
        """The weights free of noise, (edges, operations): what a cell is derived from."""
        return alphas.softmax(dim=-1)


class Supernet(nn.Module):
    """The searched network and its alphas: one parameter per cell kind, (edges, operations), shared by its cells.

    Args:
        space: what is searched.
        channels: C of the first cells.
        cells: L.
        classes: number of logits.
        fan_out: the engine: builds ``fan_out(space, state, channels, stride)``.
        edge_weights: learn also one number an edge, the betas, (edges,) per cell kind: edge normalisation (Xu et al.,
            PC-DARTS, ICLR 2020, §3.3).
        recompute: as of :class:`CellNetwork`.
        relax: what makes mixing weights of alphas; None: :class:`Softmax`.
        skip: whether each edge has a skip connection beside its mixture, weighed by :attr:`skip` (Chu et al., DARTS-,
            ICLR 2021, Eq. 4); it is no part of any cell that is derived.
    """

    def __init__(
        self,
        space: CellSpace,
        *,
        channels: int = 16,
        cells: int = 8,
        classes: int = 10,
        fan_out: FanOut = MixedFanOut,
        edge_weights: bool = False,
        recompute: bool = False,
        relax: Softmax | None = None,
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.space, self.relax = space, relax or Softmax()
        self.skip = 1.0 if skip else None
        candidates = replace(space, ops={**space.ops, "auxiliary_skip": {}}) if skip else space
        edges = (space.edges, len(space.ops))
        self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(edges)) for kind in KINDS})
        weighted = KINDS if edge_weights else ()
        self.betas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(space.edges)) for kind in weighted})

        def fill(kind: str, width: int) -> Filling:
            states = range(space.nodes + 1)
            fan_outs = [fan_out(candidates, state, width, stride_of(kind, state)) for state in states]
            return Filling(fan_outs, range(2, space.nodes + 2))

        self.network = CellNetwork(
            fill, channels=channels, cells=cells, classes=classes, affine=False, recompute=recompute
        )

    @property
    def weights(self) -> list[nn.Parameter]:
        """All parameters but the alphas and betas."""
        return list(self.network.parameters())

    @property
    def architecture(self) -> list[nn.Parameter]:
        """The alphas and betas."""
        return [*self.alphas.parameters(), *self.betas.parameters()]

    def mixing(self) -> dict[str, Any]:
        """What the fan-outs of each cell kind weigh with now: the relaxed alphas."""
        return self.weighted({kind: self.relax(kind, alpha) for kind, alpha in self.alphas.items()})

    def strengths(self) -> dict[str, Tensor]:
        """The mixing weights free of noise."""
        return self.weighted({kind: self.relax.strengths(alpha) for kind, alpha in self.alphas.items()})

    def weighted(self, mixing: dict[str, Any]) -> dict[str, Any]:
        """The mixing weights times the softmax of the betas over a node's edges, if there are betas."""
        reads = [node + 2 for node in range(self.space.nodes)]
        for kind, beta in self.betas.items():
            mixing[kind] = mixing[kind] * torch.cat([edges.softmax(0) for edges in beta.split(reads)])[:, None]
        return mixing

    def forward(self, images: Tensor, mixing: Mapping[str, Any] | None = None) -> Tensor:
        """(N, 3, H, W) → logits (N, classes), under mixing weights of each cell kind; None: its own."""
        logits: Tensor = self.network(images, self.cell_weights(self.mixing() if mixing is None else mixing))
        return logits

    def cell_weights(self, mixing: Mapping[str, Any]) -> list[Any]:
        """The mixing weights of each cell, of its kind; with those of the skips beside the mixtures, if there are."""
        if self.skip is not None:
            mixing = {kind: F.pad(weights, (0, 1), value=self.skip) for kind, weights in mixing.items()}
        return [mixing[kind] for kind in self.network.kinds]

    def genotype(self) -> Genotype:
        """The cell the alphas stand for now."""
        return derive(self.space, {kind: weights.detach() for kind, weights in self.strengths().items()})


def derive(space: CellSpace, weights: dict[str, Tensor]) -> Genotype:
    """The discrete cell: per node the two strongest edges, each by its best operation other than ``none`` (§2.4).

    Ties go to the lower state, then to the earlier operation of the space.

    Args:
        weights: per cell kind the strengths, (edges, operations).
    """
    names = list(space.ops)
    allowed = [index for index, name in enumerate(names) if name != "none"]

    def cell(strengths: list[list[float]]) -> Cell:
        nodes = []
        for node in range(space.nodes):
            best = []
            for state in range(node + 2):
                row = strengths[edge_index(node, state)]
                operation = max(allowed, key=lambda index: row[index])
                best.append((row[operation], names[operation], state))
            best.sort(key=lambda edge: -edge[0])
            nodes.append(tuple((name, state) for _, name, state in best[:2]))
        return Cell(tuple(nodes), tuple(range(2, space.nodes + 2)))

    normal, reduce = (cell(weights[kind].tolist()) for kind in KINDS)
    genotype = Genotype(normal, reduce, space=space.name)
    return Genotype(normal, reduce, space.settings_of(genotype.operations), space.name)
