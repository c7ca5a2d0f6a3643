"""Multiply-adds of rows by formula: a tuner compares hundreds of widths a trial, far too many to build and count.

``nas.costs.count`` is what is true; tests hold the two equal over all families.
"""

from collections.abc import Sequence
from math import ceil

from nas.blocks.asymmetric import reused
from nas.macro.rounding import exact
from nas.macro.rows import Row

Shape = tuple[int, int, int]


def madds(rows: Sequence[Row], image: Shape, classes: int) -> int:
    """Multiply-adds of one image of (channels, height, width) through the network of these rows."""
    total, shape = 0, image
    for row in rows:
        shape_out = output(row, shape, classes)
        total += ROWS[row["block"]](row, shape, shape_out)
        shape = shape_out
    return total


def output(row: Row, shape: Shape, classes: int) -> Shape:
    """What a row makes of (channels, height, width); vectors are maps of one pixel."""
    channels, *sides = shape
    if row["block"] in ("pool", "linear", "classifier"):
        sides = [1, 1]
    elif row.get("stride", 1) > 1:
        sides = [side // 2 if row.get("tf_padding") else ceil(side / row["stride"]) for side in sides]
    if row["block"] == "classifier":
        channels = classes
    return row.get("c_out", channels), sides[0], sides[1]


def free(row: Row, shape: Shape, out: Shape) -> int:
    """Pooling, and batch norms that are not run."""
    return 0


def dense(row: Row, shape: Shape, out: Shape) -> int:
    """A convolution, or a linear layer, which is a 1×1 convolution of one pixel."""
    return int(row.get("kernel", 1)) ** 2 * shape[0] * pixels(out) * out[0]


def pixels(shape: Shape) -> int:
    """Height times width."""
    return shape[1] * shape[2]


def squeezed(row: Row, channels: int) -> int:
    """Squeeze-and-excitation's two linear maps."""
    return 2 * channels * (row.get("squeeze") or 0)


def inverted_residual(row: Row, shape: Shape, out: Shape) -> int:
    """Expansion (none where nothing widens), depthwise convolution, squeeze, projection."""
    hidden, kernel = row["hidden"], row.get("kernel", 3)
    expansion = shape[0] * hidden if hidden != shape[0] else 0
    inside = (kernel**2 + out[0]) * hidden * pixels(out)
    return int(expansion * pixels(shape) + inside + squeezed(row, hidden))


def asymmetric(row: Row, shape: Shape, out: Shape) -> int:
    """As the inverted residual, but part of the expansion is copied."""
    computed, before, after = reused(shape[0], row["expanded"], exact(row["rate"]), row["pruned"])
    copies = before + after
    hidden = computed + copies * shape[0]
    expansion = shape[0] * computed if copies or hidden != shape[0] else 0
    inside = (row.get("kernel", 3) ** 2 + out[0]) * hidden * pixels(out)
    return int(expansion * pixels(shape) + inside + squeezed(row, hidden))


def sandglass(row: Row, shape: Shape, out: Shape) -> int:
    """Depthwise convolutions at the wide ends, reduction and expansion between; what strides is the last one there."""
    depthwise, area = row["depthwise"], row.get("kernel", 3) ** 2
    inside = pixels(out) if depthwise == "first" else pixels(shape)
    total = row["hidden"] * (shape[0] + out[0]) // row.get("groups", 1) * inside
    total += area * shape[0] * inside if depthwise in ("both", "first") else 0
    total += area * out[0] * pixels(out) if depthwise in ("both", "last") else 0
    return int(total + squeezed(row, out[0]))


def harmonious(row: Row, shape: Shape, out: Shape) -> int:
    """5×5 depthwise and 1×1 at each halving, depthwise 3×3, projection; 5×5 depthwise after the upsampling."""
    channels, hidden, left = shape[0], row["hidden"], row["contraction"]
    made = out[0] - min(channels, out[0] - out[0] // 2)
    total, area = 0, (shape[1], shape[2])
    while left > 1:
        area = (ceil(area[0] / 2), ceil(area[1] / 2))
        total += (25 + hidden) * channels * area[0] * area[1]
        channels, left = hidden, left // 2
    total += (9 + made) * hidden * area[0] * area[1]
    return int(total + (25 * made * pixels(out) if row["contraction"] > row["stride"] else 0))


ROWS = {
    "conv": dense,
    "linear": dense,
    "classifier": dense,
    "inverted_residual": inverted_residual,
    "asymmetric": asymmetric,
    "sandglass": sandglass,
    "harmonious": harmonious,
    "pool": free,
    "idle_norm": free,
}
