"""The supernet: every edge a softmax-weighted mix of all operations of the space (Liu et al., DARTS, Eq. 2)."""

from collections.abc import Callable, Mapping
from math import inf
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.blocks import OPS
from nas.cells.assembly import assemble
from nas.cells.genotype import Genotype, Pair
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.moment import Moment, Scalar
from nas.skeleton import SKELETONS
from nas.space import CellSpace


class MixedFanOut(nn.Module):
    """All that leaves one state, one module per edge and operation: the readable text, and the oracle of every test.

    Args:
        space: its nodes and operations.
        kind: of the cell.
        state: index of the state.
        channels: C.
    """

    def __init__(self, space: CellSpace, kind: str, state: int, channels: int) -> None:
        super().__init__()
        stride, names = stride_of(kind, state), list(space.ops)
        self.rows = {node: space.edge_index(node, state) for node in space.readers(state)}
        self.edges = nn.ModuleDict()
        for node, row in self.rows.items():
            operations = nn.ModuleDict()  # named by the operation's place in the space, whether or not all are there
            for index in space.options(kind, row):
                settings = space.ops[names[index]]
                operations[str(index)] = OPS[names[index]](channels, stride, False, **settings)
            self.edges[str(node)] = operations

    def operations(self, node: int) -> dict[int, nn.Module]:
        """Those of one edge, by their places in the space."""
        return {int(index): module for index, module in cast(nn.ModuleDict, self.edges[str(node)]).items()}

    def forward(self, state: Tensor, weights: Tensor) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) and the cell's mixing weights (edges, operations) → (node, contribution) pairs."""
        return [(node, self.mix(node, state, weights[row])) for node, row in self.rows.items()]

    def mix(self, node: int, state: Tensor, weights: Tensor) -> Tensor:
        """Σ_o weight_o · o(state) over the operations of one edge."""
        each = weights.unbind()
        return torch.stack([each[index] * module(state) for index, module in self.operations(node).items()]).sum(0)


FanOut = Callable[[CellSpace, str, int, int], nn.Module]


class Softmax:
    """What makes mixing weights of alphas: the softmax over an edge's operations, ``none`` included (Eq. 2)."""

    recordable = True
    """Whether a step with it can be recorded: not where the host must know the alphas."""

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        """The alphas of a cell kind, (edges, operations) → what its fan-outs weigh with now, a row an edge.

        An alpha is −∞ where the edge does not have the operation, which must then weigh 0.
        """
        return self.strengths(alphas)

    def strengths(self, alphas: Tensor) -> Tensor:
        """The weights free of noise, (edges, operations): what a cell is derived from."""
        return alphas.softmax(dim=-1)

    def draw(self, moment: Moment) -> None:
        """Draws what is random in this half of a step, for all passes until it is cleared."""

    def clear(self) -> None:
        """Forgets the draw: the weights are free of noise."""


class Supernet(nn.Module):
    """The searched network and its alphas: one parameter per cell kind, (edges, operations), shared by its cells.

    Args:
        space: what is searched.
        channels: C of the first cells.
        cells: L.
        classes: number of logits.
        fan_out: the engine: builds ``fan_out(space, kind, state, channels)``.
        edge_weights: learn also one number an edge, the betas, (edges,) per cell kind: edge normalisation (Xu et al.,
            PC-DARTS, ICLR 2020, §3.3).
        recompute: as of :class:`CellNetwork`.
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
        skip: bool = False,
    ) -> None:
        super().__init__()
        self.space, self.relax = space, Softmax()
        self.skip: Scalar | None = 1.0 if skip else None
        candidates = space.with_operation("auxiliary_skip") if skip else space
        skeleton = SKELETONS[space.skeleton]
        edges = (space.edges, len(space.ops))
        self.alphas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(edges)) for kind in space.kinds})
        weighted = space.kinds if edge_weights else ()
        self.betas = nn.ParameterDict({kind: nn.Parameter(1e-3 * torch.randn(space.edges)) for kind in weighted})
        for kind in space.choices:
            self.register_buffer(f"absent_{kind}", ~space.mask(kind), persistent=False)

        def fill(kind: str, width: int) -> Filling:
            states = range(space.inputs + space.nodes - 1)
            return Filling([fan_out(candidates, kind, state, width) for state in states], skeleton.concat(space.nodes))

        self.network = CellNetwork(
            fill,
            channels=channels,
            cells=cells,
            classes=classes,
            affine=False,
            recompute=recompute,
            skeleton=skeleton,
        )

    @property
    def weights(self) -> list[nn.Parameter]:
        """All parameters but the alphas and betas."""
        return list(self.network.parameters())

    @property
    def architecture(self) -> list[nn.Parameter]:
        """The alphas and betas."""
        return [*self.alphas.parameters(), *self.betas.parameters()]

    def scores(self, kind: str) -> Tensor:
        """The alphas, −∞ where the edge does not have the operation: it weighs 0 and its alpha has no gradient."""
        alphas: Tensor = self.alphas[kind]
        return alphas.masked_fill(self.get_buffer(f"absent_{kind}"), -inf) if kind in self.space.choices else alphas

    def mixing(self) -> dict[str, Any]:
        """What the fan-outs of each cell kind weigh with now: the relaxed alphas."""
        return self.with_betas({kind: self.relax(kind, self.scores(kind)) for kind in self.alphas})

    def strengths(self) -> dict[str, Tensor]:
        """The mixing weights free of noise."""
        return self.with_betas({kind: self.relax.strengths(self.scores(kind)) for kind in self.alphas})

    def with_betas(self, mixing: dict[str, Any]) -> dict[str, Any]:
        """The mixing weights times the softmax of the betas over a node's edges, if there are betas."""
        reads = [node + self.space.inputs for node in range(self.space.nodes)]
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
            skip = self.skip
            mixing = {
                kind: torch.cat([weights, skip * weights.new_ones(len(weights), 1)], 1)
                for kind, weights in mixing.items()
            }
        return [mixing[kind] for kind in self.network.kinds]

    def genotype(self) -> Genotype:
        """The cell the alphas stand for now."""
        return derive(self.space, {kind: weights.detach() for kind, weights in self.strengths().items()})


def derive(space: CellSpace, weights: Mapping[str, Tensor], *, once: bool = True) -> Genotype:
    """The discrete cell: per node the two strongest edges, each by its best operation other than ``none`` (§2.4).

    Where the skeleton keeps all edges, each by its best operation, in the order of their states. Ties go to the lower
    state, then to the earlier operation of the space.

    Args:
        weights: per cell kind the strengths, (edges, operations).
        once: whether an edge stays with one operation; else the two strongest may be of one edge (GDAS' own code).
    """
    names, kept = list(space.ops), SKELETONS[space.skeleton].inputs_kept

    def pairs_of(node: int, kind: str, strengths: list[list[float]]) -> list[Pair]:
        best: list[tuple[float, str, int]] = []
        for state in range(node + space.inputs):
            edge = space.edge_index(node, state)
            ranked = sorted(space.candidates(kind, edge), key=lambda operation: -strengths[edge][operation])
            stay = ranked[:1] if once or kept is None else ranked
            best += [(strengths[edge][operation], names[operation], state) for operation in stay]
        if kept is not None:
            best = sorted(best, key=lambda edge: -edge[0])[:kept]
        return [(name, state) for _, name, state in best]

    strengths = {kind: weights[kind].tolist() for kind in space.kinds}
    nodes = {kind: [pairs_of(node, kind, rows) for node in range(space.nodes)] for kind, rows in strengths.items()}
    return assemble(space, nodes)
