"""What each operation on each edge of a cell costs in the network that the cell is meant for."""

from functools import cache

import torch
from torch import Tensor, nn

from nas.amounts import Cost
from nas.bilevel.derivation import EdgeCosts
from nas.blocks import OPS
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.costs.count import count
from nas.run.spec import Size
from nas.skeleton import SKELETONS
from nas.space import CellSpace

Shape = tuple[int, int, int]


class Probe(nn.Module):
    """In the place of a state's fan-out: notes the state's shape, and hands it on for nothing.

    Args:
        space, kind, state: as of any fan-out.
    """

    def __init__(self, space: CellSpace, kind: str, state: int) -> None:
        super().__init__()
        self.kind, self.state, self.stride = kind, state, stride_of(kind, state)
        self.readers = space.readers(state)
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
    skeleton = SKELETONS[space.skeleton]

    def fill(kind: str, width: int) -> Filling:
        own = [Probe(space, kind, state) for state in range(space.inputs + space.nodes - 1)]
        probes.extend(own)
        return Filling(own, skeleton.concat(space.nodes))

    @cache
    def cost_of(name: str, stride: int, shape: Shape) -> Cost:
        counted = count(OPS[name](shape[0], stride, True, **space.ops[name]), shape)
        return Cost(counted.madds, counted.params)

    def of_edge(kind: str, edge: int, state: int) -> dict[str, Cost]:
        own = [probe for probe in probes if (probe.kind, probe.state) == (kind, state)]
        names = [list(space.ops)[index] for index in space.candidates(kind, edge)]
        return {name: sum((cost_of(name, probe.stride, probe.shape) for probe in own), Cost()) for name in names}

    with torch.device("meta"):
        network = CellNetwork(
            fill, channels=size.channels, cells=size.cells, classes=classes, stem=stem, skeleton=skeleton
        )
        rest = count(network, image)
        ends = [(node, state) for node in range(space.nodes) for state in range(node + space.inputs)]
        edges = {kind: [of_edge(kind, space.edge_index(*end), end[1]) for end in ends] for kind in space.kinds}
    return EdgeCosts(space, Cost(rest.madds, rest.params), edges)
