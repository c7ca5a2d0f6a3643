"""What the cells of a space are set in: the inputs and kinds of a cell, what a node keeps of its edges."""

from dataclasses import dataclass

from nas.errors import UsageError


@dataclass(frozen=True)
class Skeleton:
    """A family of cell networks.

    Args:
        inputs: how many outputs before it a cell reads, its states 0, …, inputs − 1.
        kinds: of cells.
        inputs_kept: edges that a node of a found cell keeps, no ``none`` among them; None: all, and ``none`` may win.
        outputs: how many of the last nodes are concatenated as a cell's output; None: all.
        residual: maps are halved by residual blocks between three equal parts of the network, not in cells; its stem
            has C channels, not 3C, and a batch norm comes before its head.
    """

    inputs: int
    kinds: tuple[str, ...]
    inputs_kept: int | None
    outputs: int | None = None
    residual: bool = False

    def check(self, cells: int) -> None:
        """Raises UsageError where a network cannot have so many cells."""
        if self.residual and cells % 3:
            raise UsageError(f"--cells {cells}: a network of this skeleton has three equal parts: give a multiple of 3")

    def concat(self, nodes: int) -> tuple[int, ...]:
        """The states that are a cell's output."""
        return tuple(range(self.inputs + nodes - (self.outputs or nodes), self.inputs + nodes))


SKELETONS = {
    "darts": Skeleton(inputs=2, kinds=("normal", "reduce"), inputs_kept=2),
    "nasbench201": Skeleton(inputs=1, kinds=("normal",), inputs_kept=None, outputs=1, residual=True),
}
"""By name: Liu et al., DARTS, ICLR 2019, §2.1; Dong and Yang, NAS-Bench-201, ICLR 2020, §2.1."""
