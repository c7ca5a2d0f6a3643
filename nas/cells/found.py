"""The found network: the skeleton filled with the chosen operations on the chosen edges."""

import torch
from torch import Tensor, nn

from nas.blocks import OPS
from nas.cells.genotype import Genotype
from nas.cells.network import CellNetwork, Filling, stride_of


class DropPath(nn.Module):
    """Drops a whole path for some images of a batch (Larsson et al., FractalNet, 2017), with masks drawn outside.

    The masks are given per image, so that a batch spread over several workers is treated as one.
    """

    mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) times the mask (N, 1, 1, 1), which is 0 or 1 / (1 − probability)."""
        return x if self.mask is None or not self.training else x * self.mask


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


def found_network(  # noqa: PLR0913
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
        edges: list[list[tuple[int, nn.Module]]] = [[] for _ in range(len(cell.nodes) + 1)]
        for node, pairs in enumerate(cell.nodes):
            for name, state in pairs:
                operation = OPS[name](width, stride_of(kind, state), True, **genotype.ops.get(name, {}))
                edges[state].append((node, operation))
        return Filling([ChosenFanOut(leaving) for leaving in edges], cell.concat)

    return CellNetwork(fill, channels=channels, cells=cells, classes=classes, stem=stem, auxiliary=auxiliary)


def draw_paths(network: nn.Module, probability: float, batch: int, generator: torch.Generator) -> Tensor:
    """Masks of one step for all paths of a network, (paths, batch), to be handed to :func:`set_paths`."""
    paths = sum(isinstance(module, DropPath) for module in network.modules())
    kept = torch.rand(paths, batch, generator=generator) >= probability
    return kept / (1 - probability)


def set_paths(network: nn.Module, masks: Tensor | None) -> None:
    """Gives each path its mask of the coming step; None: nothing is dropped."""
    paths = [module for module in network.modules() if isinstance(module, DropPath)]
    for index, path in enumerate(paths):
        path.mask = None if masks is None else masks[index].view(-1, 1, 1, 1)
