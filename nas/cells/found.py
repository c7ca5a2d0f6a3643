"""The found network: the skeleton filled with the chosen operations on the chosen edges."""

from torch import Tensor, nn

from nas.blocks import OPS
from nas.blocks.drop_path import DropPath
from nas.cells.genotype import Genotype
from nas.cells.network import CellNetwork, Filling, stride_of
from nas.skeleton import SKELETONS


class ChosenFanOut(nn.Module):
    """What leaves one state in a found cell.

    Args:
        edges: (node, operation) pairs.
    """

    def __init__(self, edges: list[tuple[int, nn.Module]]) -> None:
        super().__init__()
        self.nodes = [node for node, _ in edges]
        self.operations = nn.ModuleList(
            operation if isinstance(operation, nn.Identity) else nn.Sequential(operation, DropPath())
            for _, operation in edges
        )

    def forward(self, state: Tensor, weights: Tensor | None = None) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) → (node, contribution) pairs; there is nothing to weigh."""
        return [(node, operation(state)) for node, operation in zip(self.nodes, self.operations, strict=True)]


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
        edges: list[list[tuple[int, nn.Module]]] = [[] for _ in range(len(cell.nodes) + cell.inputs - 1)]
        for node, pairs in enumerate(cell.nodes):
            for name, state in pairs:
                operation = OPS[name](width, stride_of(kind, state), True, **genotype.ops.get(name, {}))
                edges[state].append((node, operation))
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
