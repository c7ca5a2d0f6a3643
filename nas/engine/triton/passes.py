"""A pass of a group of segments through the Triton kernels, forward and back."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate, groupby, islice
from typing import Any

import torch
from torch import Tensor, nn

from nas.engine.segments import MergedNorm, check_values
from nas.engine.tables import plain, table
from nas.engine.triton import kernels
from nas.engine.triton.groups import Group, Plan
from nas.engine.triton.launch import (
    BACKWARD,
    FORWARD,
    SHARED,
    WEIGHTS,
    Shape,
    address,
    block,
    blocks,
    lanes,
    launch,
    side_stream,
    tile,
    wide_tile,
)

ACTIVATIONS: dict[type[nn.Module] | None, int] = {None: 0, nn.ReLU: 1, nn.ReLU6: 2}


class Taps:
    """The depthwise weights of all groups, each (K, K, C), in float32.

    Args:
        like: a tensor in float32 on the device.
    """

    def __init__(self, groups: Sequence[Group], like: Tensor) -> None:
        weights = [weight for group in groups for _, part in group.parts() for weight in part.taps]
        sizes = [weight.numel() for weight in weights]
        self.places = {address(weight): at for weight, at in zip(weights, accumulate(sizes, initial=0), strict=False)}
        self.all = like.new_empty(max(1, sum(sizes)))
        rows = [(address(w), w[0].numel(), len(w), self.places[address(w)]) for w in weights]
        if rows:
            grid = (blocks(max(sizes), 1024), len(rows))
            launch(kernels.arrange_taps, grid, table(rows, like), self.all, BLOCK=1024)


class WeightGradients:
    """The gradients of all weights of a sum, in parts that are added at the end.

    Args:
        like: a tensor in float32 on the device.
        parts: how many.
    """

    def __init__(self, groups: Sequence[Group], like: Tensor, parts: int) -> None:
        self.weights = [weight for group in groups for weight in group.weights]
        self.sizes = [weight.numel() for weight in self.weights]
        starts = iter(accumulate(self.sizes, initial=0))
        self.places = {group: list(islice(starts, len(group.weights))) for group in groups}
        self.parts = like.new_empty(parts, sum(self.sizes))
        self.kept: list[Any] = []

    @contextmanager
    def beside(self, *tensors: Any) -> Iterator[None]:
        """A context of what runs on a GPU beside all that follows; the tensors are kept until the end."""
        self.kept.append(tensors)
        if not self.parts.is_cuda or not plain(self.parts):
            yield
            return
        side = side_stream(self.parts.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            yield

    def split(self) -> list[Tensor]:
        """One a weight."""
        if self.parts.is_cuda and plain(self.parts):
            torch.cuda.current_stream().wait_stream(side_stream(self.parts.device))
        each = self.parts.sum(0).split(self.sizes)
        return [grad.view(weight.shape) for grad, weight in zip(each, self.weights, strict=True)]


class GroupPass:
    """A pass of a group of segments, forward and back.

    Args:
        x: the state.
        before: the pass whose maps it reads; None: it reads the state.
        taps: the depthwise weights.
    """

    def __init__(self, plan: Plan, group: Group, x: Tensor, before: "GroupPass | None", taps: Taps) -> None:
        self.taps = taps
        self.plan, self.group, self.before, self.edges = plan, group, before, plan.edges
        form = group.form
        if before is None:
            self.x, (images, self.height, self.width, _) = x, last(x)
            self.images = images // plan.edges if plan.apart else images
            self.mean = self.invstd = x
        else:
            self.x, (_, self.images, self.height, self.width, _) = before.y, before.y.shape
            self.mean, _, self.invstd = before.statistics
        self.statistics: tuple[Tensor, ...] = ()
        self.y: Tensor = x  # until it is computed, as the next two
        self.maps_grad = self.affine = x
        self.middle: Tensor | None = None
        self.inputs, self.outputs, self.wide = form.channels
        self.out_height, self.out_width = form.side(self.height), form.side(self.width)
        self.norms = [segment.norm for segment in group.segments.values()]
        self.training: bool = self.norms[0].modules[0].training
        self.items = self.edges * sum(1 for _ in group.parts())
        self.targets = self.edges * len(group.segments)
        inner, outer = block(self.inputs), block(self.outputs)
        self.blocks: dict[str, int] = {"BI": inner, "BO": outer if form.pointwise else inner}
        self.channels = {"IN": self.inputs, "OUT": self.outputs, "WIDE": self.wide}
        self.reading: dict[str, Any] = {"ACTIVATION": ACTIVATIONS[form.activation], "NORM": before is not None}
        library = not torch.backends.cudnn.allow_tf32 and x.dtype == torch.float32
        self.precision: dict[str, Any] = {"PRECISION": "ieee" if library else "tf32"}

    @property
    def sizes(self) -> tuple[int, ...]:
        return self.images, self.height, self.width, self.out_height, self.out_width, self.group.form.stride

    @property
    def total(self) -> int:
        """Pixels of an item's map that leaves."""
        return self.images * self.out_height * self.out_width

    def _cut(self, shape: Shape, channels: int, height: int, width: int) -> tuple[int, dict[str, int]]:
        """The number of tiles of maps of that size, and what a kernel is told of them."""
        form = self.group.form
        pixels = shape.pixels if form.depthwise and form.stride == 1 else 1
        size = tile(channels, shape.numbers if pixels == shape.pixels else 2048, least=8 if shape is SHARED else 16)
        count = lanes(self.images * height, width, pixels, self.group.dilations if pixels > 1 else [1])
        return blocks(count, size), {"P": size, "V": pixels, "WIDEST": self.group.widest}

    def forward(self, keep: bool) -> None:
        """The maps before the segments' batch norms, and their statistics; ``keep``: what weights' gradients need."""
        form = self.group.form
        self.y = self.x.new_empty(self.targets, self.images, self.out_height, self.out_width, self.wide)
        keep = keep and form.depthwise and form.pointwise
        self.middle = self.x.new_empty(self.items, self.total, self.inputs) if keep else None
        every = self.targets * self.wide
        tiles, cut = self._cut(FORWARD, max(self.blocks.values()), self.out_height, self.out_width)
        moments = torch.empty(tiles, 3, every, dtype=torch.float32, device=self.x.device)
        grid = (tiles, self.items, blocks(self.outputs, self.blocks["BO"]))
        middle = self.y if self.middle is None else self.middle
        tensors = (self.x, self.table(), self.taps.all, self.mean, self.invstd, self.y, middle, moments)
        forms = {"POINTWISE": form.pointwise, "KEEP": keep, **self.precision, **self.reading, **cut}
        launch(kernels.segment_forward, grid, *tensors, *self.sizes, every, **self.channels, **self.blocks, **forms)
        every_norm = [addresses for norm in self.norms for addresses in running(norm)]
        rows = [(item, *addresses) for item, addresses in enumerate(every_norm)]
        self.statistics = norm_statistics(self.norms[0], rows, moments, self.total, self.wide)
        self.affine = moments.new_empty(self.targets, 3, self.wide)

    def table(self, following: Sequence["GroupPass"] = (), weights: Sequence[int] = ()) -> Tensor:
        """A row an item, as :mod:`nas.engine.triton.kernels` reads it.

        Args:
            following: passes that read this one's maps.
            weights: the places of this group's weights among those of all.
        """
        rows, places = [], iter(weights)
        for chain, part in self.group.parts():
            target, kernel, dilation, padding = self.group.place(chain) * self.edges, *part.sides
            source = self.before.group.place(chain) * self.edges if self.before else 0
            after = [index for index, each in enumerate(following) if chain in each.group.segments]
            back = following[after[0]].group.place(chain) * self.edges if after else 0
            taps, point = (
                [(address(weight), next(places, 0)) for weight in each.weights] if each else [(0, 0)] * self.edges
                for each in (part.depthwise, part.pointwise)
            )
            for edge in range(self.edges):
                read = source + (edge if self.before or self.plan.apart else 0)
                grad = (self.edges + after[0], back + edge) if after else (edge, 0)
                (tap, tap_at), (one, one_at) = taps[edge], point[edge]
                tap = self.taps.places.get(tap, 0)
                row = (read, kernel, dilation, padding, tap, one, target + edge, part.channel, *grad, tap_at, one_at)
                rows.append(row)
        return table(rows, self.x)

    def backward(
        self,
        passes: Sequence["GroupPass"],
        grads: tuple[Tensor, ...],
        x_grad: Tensor | None,
        weights: WeightGradients | None,
    ) -> None:
        """Sets the gradients of the weights; that of the state is added to ``x_grad``.

        Args:
            passes: all; those after this one have been gone back through.
            grads: of the sum, one map an edge.
        """
        following = [one for one in passes if one.before is self]
        items = self.table(following, weights.places[self.group] if weights else ())
        tensors = (self.y, (*grads, *(one.maps_grad for one in following)), self.affine, items)
        middle_grad = self.x.new_empty(self.items, self.total, self.inputs)
        size = wide_tile(max(self.blocks.values()), self.items * self.total * self.inputs)
        grid = (blocks(self.total, size), self.items, blocks(self.inputs, self.blocks["BI"]))
        forms = {"P": size, **self.channels, **self.blocks, **self.precision}
        pointwise = self.group.form.pointwise
        launch(kernels.point_backward, grid, *tensors, middle_grad, self.total, POINTWISE=pointwise, **forms)
        if weights:
            with weights.beside(middle_grad, *tensors):
                self._weight_gradients(tensors, middle_grad, weights.parts)
        if self.before is not None or x_grad is not None:
            self._input_gradient(items, middle_grad, x_grad)

    def _weight_gradients(self, tensors: tuple[Any, ...], middle_grad: Tensor, parts: Tensor) -> None:
        form, count, items = self.group.form, parts.shape[0], tensors[-1]
        inner = blocks(self.inputs, self.blocks["BI"])
        numbers = (*self.sizes, parts.shape[1], count)
        if form.pointwise:
            middle = self.x if self.middle is None else self.middle
            grid = (count, self.items, inner * blocks(self.outputs, self.blocks["BO"]))
            forms = {**self.channels, **self.blocks, **self.reading, **self.precision, "DEPTH": form.depthwise}
            forms |= {"P": tile(max(self.blocks.values()))}
            launch(
                kernels.point_weights, grid, *tensors, self.x, self.mean, self.invstd, middle, parts, *numbers, **forms
            )
        if form.depthwise:
            _, cut = self._cut(WEIGHTS, self.blocks["BI"], self.out_height, self.out_width)
            forms = {"IN": self.inputs, "BI": self.blocks["BI"], **cut, **self.reading}
            own = (middle_grad, items, self.x, self.mean, self.invstd, parts)
            grid = (count, self.items, inner * self.group.widest)
            launch(kernels.depth_weights, grid, *own, *numbers, **forms)

    def _input_gradient(self, items: Tensor, middle_grad: Tensor, x_grad: Tensor | None) -> None:
        form, shared = self.group.form, self.before is None and not self.plan.apart
        every, inner = self.items * self.inputs, blocks(self.inputs, self.blocks["BI"])
        tiles, cut = self._cut(SHARED if shared else BACKWARD, self.blocks["BI"], self.height, self.width)
        if self.before is not None:
            self.maps_grad = self.x.new_empty(self.items, self.images, self.height, self.width, self.inputs)
        maps_grad = x_grad if self.before is None else self.maps_grad
        sums = torch.empty(tiles, 2, every, dtype=torch.float32, device=self.x.device)
        forms: dict[str, Any] = {"IN": self.inputs, "BI": self.blocks["BI"], "STRIDE": form.stride, **cut}
        forms |= {"ADD": self.before is None, **self.reading}
        statistics = (self.x, self.mean, self.invstd)
        for run in self._runs() if shared and cut["V"] > 1 else [slice(None)]:
            tensors = (middle_grad[run], items[run], self.taps.all, *statistics, maps_grad, sums)
            count = len(tensors[1]) if shared else 1
            grid = (tiles, 1 if shared else self.items, inner)
            launch(kernels.depth_backward, grid, *tensors, *self.sizes[:5], count, every, **forms)
        if self.before is not None:
            forms = {"C": self.inputs, "BC": self.blocks["BI"], "TRAINING": self.before.training}
            gradients = (items, self.mean, self.invstd, self.before.affine)
            pixels = self.images * self.height * self.width
            launch(kernels.norm_gradients, (self.items, inner), sums, *gradients, tiles, pixels, every, **forms)

    def _runs(self) -> list[slice]:
        """The items of each dilation."""
        lengths = [self.edges * len(list(same)) for _, same in groupby(self.group.dilations)]
        return [slice(end - length, end) for end, length in zip(accumulate(lengths), lengths, strict=True)]

    def _edges_of(self, chain: int) -> slice:
        place = self.group.place(chain)
        return slice(place * self.edges, (place + 1) * self.edges)

    def last_map(self, chain: int) -> Tensor:
        """Of a chain, (edges, N, H, W, C)."""
        return self.y[self._edges_of(chain)]

    def affine_of(self, chain: int) -> Tensor:
        """(edges, 3, C)."""
        return self.affine[self._edges_of(chain)]

    def statistics_of(self, chain: int) -> tuple[Tensor, Tensor]:
        """Mean and 1/√(variance + ε), (edges · C,)."""
        edges = self._edges_of(chain)
        mean, _, invstd = (each.view(-1, self.wide)[edges] for each in self.statistics)
        return mean, invstd


def running(norm: MergedNorm) -> list[tuple[int, int, int]]:
    """The addresses of each module's running mean, running variance and number of batches."""
    names = ("running_mean", "running_var", "num_batches_tracked")
    return [tuple(address(getattr(module, name)) for name in names) for module in norm.modules]  # type: ignore[misc]


def norm_statistics(
    norm: MergedNorm, rows: Sequence[Sequence[int]], moments: Tensor, values: int, wide: int
) -> tuple[Tensor, ...]:
    """Mean, variance and 1/√(variance + ε) of all items' channels.

    Args:
        rows: an item, and the addresses that :func:`running` gives, each.
        moments: of tiles, (tiles, 3, channels of all items), in training.
        values: of a channel.
        wide: channels of an item.

    Raises:
        ValueError: one value a channel has no variance.
    """
    module, (tiles, _, every) = norm.modules[0], moments.shape
    if module.training:
        check_values(values)
    statistics = moments.new_empty(3, every)
    grid = (len(rows), blocks(wide, block(wide)))
    tensors = (moments, table(rows, moments), statistics, tiles, values, every, module.momentum, module.eps)
    forms = {"WIDE": wide, "BC": block(wide), "TRAINING": module.training}
    launch(kernels.norm_statistics, grid, *tensors, **forms)
    return statistics.unbind()


def last(x: Tensor) -> tuple[int, int, int, int]:
    """(N, H, W, C) of (N, C, H, W)."""
    n, c, h, w = x.shape
    return n, h, w, c
