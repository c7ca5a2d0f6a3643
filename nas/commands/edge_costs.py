"""What each operation on each edge of a cell costs in the network that the cell is meant for."""

from functools import cache

import torch
from torch import Tensor, nn

from nas.bilevel.derivation import Cost, EdgeCosts
from nas.blocks import OPS
from nas.cells.genotype import KINDS
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.costs.count import count
from nas.run.spec import Size
from nas.space import CellSpace

Shape = tuple[int, int, int]


class Probe(nn.Module):
    """In the place of a state's fan-out: notes the state's shape, and hands it on for nothing.

    Args:
        kind, state, nodes: of the cell; the state that it reads; the cell's nodes.
    """

    def __init__(self, kind: str, state: int, nodes: int) -> None:
        super().__init__()
        self.kind, self.state, self.stride = kind, state, stride_of(kind, state)
        self.readers = range(max(0, state - 1), nodes)
        self.shape: Shape = (0, 0, 0)

    def forward(self, state: Tensor, weights: Tensor | None = None) -> list[tuple[int, Tensor]]:
        """State (1, C, H, W) → (node, a view of it of the contribution's shape) pairs."""
        _, channels, height, width = state.shape
        self.shape = channels, height, width
        return [(node, state[..., :: self.stride, :: self.stride]) for node in self.readers]


def edge_costs(space: CellSpace, size: Size, image: Shape, classes: int, stem: str = "cifar") -> EdgeCosts:
    """The costs of a space's choices in the final network, each operation counted on the map it would see there.

    Args:
        size: channels and cells of that network.
        image: (channels, height, width) of its input.
    """
    probes: list[Probe] = []

    def fill(kind: str, width: int) -> Filling:
        own = [Probe(kind, state, space.nodes) for state in range(space.nodes + 1)]
        probes.extend(own)
        return Filling(own, range(2, space.nodes + 2))

    @cache
    def cost_of(name: str, stride: int, shape: Shape) -> Cost:
        counted = count(OPS[name](shape[0], stride, True, **space.ops[name]), shape)
        return Cost(counted.madds, counted.params)

    def of_state(kind: str, state: int) -> dict[str, Cost]:
        own = [probe for probe in probes if (probe.kind, probe.state) == (kind, state)]
        return {name: sum((cost_of(name, probe.stride, probe.shape) for probe in own), Cost()) for name in space.ops}

    with torch.device("meta"):
        rest = count(CellNetwork(fill, channels=size.channels, cells=size.cells, classes=classes, stem=stem), image)
        edges = {
            kind: [of_state(kind, state) for node in range(space.nodes) for state in range(node + 2)] for kind in KINDS
        }
    return EdgeCosts(Cost(rest.madds, rest.params), edges)
