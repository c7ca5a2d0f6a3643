"""The found network: the skeleton filled with the chosen operations on the chosen edges."""

from collections.abc import Sequence

from torch import Tensor, nn

from nas.blocks import OPS
from nas.blocks.drop_path import DropPath
from nas.cells.genotype import Genotype
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.skeleton import SKELETONS


class ChosenFanOut(nn.Module):
    """What leaves one state in a found cell.

    Args:
        edges: (node, operation's name, operation) of each.
    """

    def __init__(self, edges: Sequence[tuple[int, str, nn.Module]]) -> None:
        super().__init__()
        self.nodes = [node for node, _, _ in edges]
        self.names = [name for _, name, _ in edges]
        self.operations = nn.ModuleList(
            operation if isinstance(operation, nn.Identity) else nn.Sequential(operation, DropPath())
            for _, _, operation in edges
        )

    @property
    def undropped(self) -> list[nn.Module]:
        """The operations alone."""
        return [each[0] if isinstance(each, nn.Sequential) else each for each in self.operations]

    def forward(self, state: Tensor, weights: Tensor | None = None) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) → (node, contribution) pairs; there is nothing to weigh."""
        return self.contributions([operation(state) for operation in self.undropped])

    def contributions(self, maps: Sequence[Tensor]) -> list[tuple[int, Tensor]]:
        """The operations' maps with their nodes; some are dropped."""
        paths = [each[1] if isinstance(each, nn.Sequential) else each for each in self.operations]
        return [(node, path(x)) for node, path, x in zip(self.nodes, paths, maps, strict=True)]


def found_network(
    genotype: Genotype,
    *,
    channels: int = 36,
    cells: int = 20,
    classes: int = 10,
    stem: str = "cifar",
    auxiliary: bool = False,
) -> CellNetwork:
    """The network to retrain; the defaults are the DARTS paper's for CIFAR-10."""

    def fill(kind: str, width: int) -> Filling:
        cell = genotype.cells[kind]
        edges: list[list[tuple[int, str, nn.Module]]] = [[] for _ in range(len(cell.nodes) + cell.inputs - 1)]
        for node, pairs in enumerate(cell.nodes):
            for name, state in pairs:
                operation = OPS[name](width, stride_of(kind, state), True, **genotype.ops.get(name, {}))
                edges[state].append((node, name, operation))
        return Filling([ChosenFanOut(leaving) for leaving in edges], cell.concat)

    return CellNetwork(
        fill,
        channels=channels,
        cells=cells,
        classes=classes,
        stem=stem,
        auxiliary=auxiliary,
        skeleton=SKELETONS[genotype.skeleton],
    )
