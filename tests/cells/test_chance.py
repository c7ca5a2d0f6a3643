"""Random cells: of their space, and all of it."""

from collections import Counter

import pytest
import torch

from nas import space as spaces
from nas.cells.chance import random_genotype
from nas.space import CellSpace


def drawn(space: CellSpace, number: int) -> list[object]:
    stream = torch.Generator().manual_seed(0)
    return [random_genotype(space, stream) for _ in range(number)]


def test_every_cell_is_as_likely() -> None:
    """One node, two inputs, two operations: 4 normal cells; expected 100 each, five deviations are 43."""
    space = CellSpace("small", "", 1, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})
    counts = Counter(genotype.normal.nodes for genotype in drawn(space, 400))  # type: ignore[attr-defined]
    assert len(counts) == 4 and all(57 <= count <= 143 for count in counts.values())
    assert not any(name == "none" for node in counts for pairs in node for name, _ in pairs)


@pytest.mark.parametrize("name", ["darts+sandglass", "s1", "nasbench201"])
def test_of_the_space(name: str) -> None:
    space = spaces.load(name)
    names = list(space.ops)
    for genotype in drawn(space, 50):
        for kind, cell in genotype.cells.items():  # type: ignore[attr-defined]
            for node, pairs in enumerate(cell.nodes):
                if space.inputs == 2:
                    assert len(pairs) == len({state for _, state in pairs}) == 2
                for operation, state in pairs:
                    assert names.index(operation) in space.candidates(kind, space.edge_index(node, state))
