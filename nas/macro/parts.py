"""A network's operations, each with the map it reads: what a table of latencies has an entry for."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import nn

from nas.macro.madds import Shape, output
from nas.macro.networks import build_rows
from nas.macro.rows import Row

TOLD = ("stage", "block", "dropout")
"""Keys of a row that are said otherwise, or do nothing in inference."""


@dataclass(frozen=True)
class Part:
    """A row on its input, or a network's head: all rows from its pooling on.

    Args:
        rows: usually one.
        input: (channels, height, width).
        classes: of the data.
    """

    rows: tuple[Row, ...]
    input: Shape
    classes: int

    @property
    def signature(self) -> str:
        """What it computes, in words: equal where latencies are."""
        said = [{key: value for key, value in row.items() if key not in TOLD} for row in self.rows]
        words = [
            " ".join([row["block"], *(f"{key}={value}" for key, value in sorted(own.items()))])
            for row, own in zip(self.rows, said, strict=True)
        ]
        classes = f" {self.classes}" if self.rows[-1]["block"] == "classifier" else ""
        return f"{'x'.join(map(str, self.input))} {', '.join(words)}{classes}"

    def build(self) -> nn.Module:
        """The module, images (N, *input) → maps or logits; its weights are drawn."""
        return build_rows(self.rows, channels=self.input[0], classes=self.classes).eval()


def parts(rows: Sequence[Row], image: Shape, classes: int) -> Iterator[Part]:
    """The parts of the network of these rows, for images of (channels, height, width)."""
    running = [row for row in rows if row["block"] != "idle_norm"]
    end = next((index for index, row in enumerate(running) if row["block"] == "pool"), len(running))
    shape = image
    for row in running[:end]:
        yield Part((row,), shape, classes)
        shape = output(row, shape, classes)
    if running[end:]:
        yield Part(tuple(running[end:]), shape, classes)
