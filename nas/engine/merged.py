"""The merged engine: all that leaves one state at once; the parameters and the mathematics of MixedFanOut.

What the edges of a state have in common is computed once: ReLU, both poolings and their batch norms. Convolutions of
one operation on several edges are one convolution, its channels edge after edge. Operations are merged by their
structure, which :func:`add_operation` reads from the modules; one that it does not know runs edge by edge.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.blocks.asymmetric import Asymmetric, Reuse
from nas.blocks.harmonious import Harmonious
from nas.blocks.inverted_residual import InvertedResidual
from nas.blocks.layers import FactorizedReduce, Zero, from_grids, pad_to_even
from nas.blocks.sandglass import Sandglass
from nas.cells.supernet import MixedFanOut, edge_index
from nas.engine.chains import Modules, State, can_run, half_form, layers_of, letter, run, run_shared
from nas.engine.compiled import CompiledMix, Part, Plan, can_compile, parts_of
from nas.engine.kernels import LAST, Mix, Statistics, statistics
from nas.space import CellSpace

log = logging.getLogger(__name__)


class MergedFanOut(MixedFanOut):
    """MixedFanOut's modules, so that a checkpoint fits both engines, run together."""

    def __init__(self, space: CellSpace, state: int, channels: int, stride: int) -> None:
        super().__init__(space, state, channels, stride)
        self.operations = tuple(space.ops)

    def forward(self, state: Tensor, weights: Tensor) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) and the cell's mixing weights (edges, operations) → (node, contribution) pairs."""
        kind = state.device.type
        if torch.is_autocast_enabled(kind):
            state = state.to(torch.get_autocast_dtype(kind))
        terms = Terms(State(state.contiguous(memory_format=LAST), len(self.readers)))
        rows = torch.stack([weights[edge_index(node, self.state)] for node in self.readers])
        for name, modules, row in zip(self.operations, zip(*self.edges.values(), strict=True), rows.T, strict=True):
            if not add_operation(terms, modules, row):
                tell_unmerged(name)
                terms.separate += [(edge, row[edge] * module(state)) for edge, module in enumerate(modules)]
        return [(self.readers[edge], part) for edge, part in terms.contributions()]


@cache
def tell_unmerged(operation: str) -> None:
    """Says once that an operation has no merge rule."""
    log.warning("operation %s has no merge rule: it runs edge by edge, correct but slower", operation)


Normed = tuple[Tensor, Statistics, Tensor]
"""A map (N, edges·C, H, W), the statistics of its batch norms, its mixing weights (edges,)."""


@dataclass
class Terms:
    """What the nodes receive from a state, sorted by how it is summed.

    Args:
        state: what all operations read.
        common: maps that are the same for all edges, their batch norm (None: no such), their weights (edges,).
        compiled: chains of which compiled kernels compute all, with their weights.
        normed: maps that differ, still to be batch-normalised.
        gridded: such maps on four half-resolution grids.
        separate: finished (edge, contribution) pairs.
    """

    state: State
    common: list[tuple[Tensor, Statistics | None, Tensor]] = field(default_factory=list)
    compiled: list[tuple[list[Part], Tensor]] = field(default_factory=list)
    normed: list[Normed] = field(default_factory=list)
    gridded: list[Normed] = field(default_factory=list)
    separate: list[tuple[int, Tensor]] = field(default_factory=list)

    def add_common(self, x: Tensor, row: Tensor, stats: Statistics | None = None) -> None:
        for index, (known, _, weights) in enumerate(self.common):
            if known is x:
                self.common[index] = (x, stats, weights + row)
                return
        self.common.append((x, stats, row))

    def contributions(self) -> list[tuple[int, Tensor]]:
        """(edge, contribution) pairs, one or several an edge."""
        found = list(self.separate)
        if self.normed or self.gridded:
            mixed = [mix(self.normed)] if self.normed else []
            mixed += [from_grids(mix(self.gridded))] if self.gridded else []
            found += enumerate(sum(mixed[1:], mixed[0]).chunk(self.state.edges, dim=1))
        if self.compiled:
            found += enumerate(compiled_mix(self.state, self.compiled, self.common))
        elif self.common:
            found += enumerate(combine(self.common))
        return found


def compiled_mix(
    state: State,
    chains: Sequence[tuple[list[Part], Tensor]],
    common: Sequence[tuple[Tensor, Statistics | None, Tensor]],
) -> Sequence[Tensor]:
    """Per edge the weighted sum of chains and common maps, by compiled kernels."""
    maps = [x for x, _, _ in common]
    from_state = next((index for index, x in enumerate(maps) if x is state.x), -1)
    plan = Plan(state.edges, [parts for parts, _ in chains], [stats for _, stats, _ in common], from_state)
    rows = torch.stack([*(row for _, row in chains), *(row for _, _, row in common)])
    mixed: Sequence[Tensor] = CompiledMix.apply(plan, state.x, rows, *maps, *plan.parameters)
    return mixed


def mix(terms: Sequence[Normed]) -> Tensor:
    """Σ weight · batch norm, (N, edges·C, H, W)."""
    maps, stats, rows = zip(*terms, strict=True)
    mixed: Tensor = Mix.apply(torch.stack(rows), stats, *maps)
    return mixed


def combine(terms: Sequence[tuple[Tensor, Statistics | None, Tensor]]) -> list[Tensor]:
    """Per edge the weighted sum of common maps: all edges are one matrix product."""
    maps = [x if stats is None else normalised(x, stats, 1) for x, stats, _ in terms]
    rows = [row for _, _, row in terms]
    n, c, h, w = maps[0].shape
    flat = torch.stack([x.permute(0, 2, 3, 1) for x in maps]).flatten(1)
    sums = torch.stack(rows, dim=1).to(flat.dtype) @ flat
    return list(sums.view(-1, n, h, w, c).permute(0, 1, 4, 2, 3).unbind())


def add_operation(terms: Terms, modules: Modules, row: Tensor) -> bool:
    """Adds one operation of all edges to ``terms``; False: there is no rule for it.

    Args:
        row: the operation's mixing weights, (edges,).
    """
    first = modules[0]
    if type(first) is Zero:
        return True
    if type(first) is nn.Identity:
        terms.add_common(terms.state.x, row)
        return True
    if type(first) is FactorizedReduce:
        terms.normed.append((*factorized_reduce(terms, modules), row))
        return True
    if type(first) is Harmonious:
        return add_harmonious(terms, modules, row)
    if type(first) in (Sandglass, InvertedResidual, Asymmetric):
        return add_residual(terms, modules, row)
    if is_pool(first):
        pooled = modules[0][0](terms.state.x)  # type: ignore[index]
        terms.add_common(pooled, row, statistics([module[1] for module in modules], pooled))  # type: ignore[index]
        return True
    return add_chain(terms, layers_of(modules), row)


def is_pool(module: nn.Module) -> bool:
    layers = list(module) if type(module) is nn.Sequential else []
    return len(layers) == 2 and type(layers[0]) in (nn.MaxPool2d, nn.AvgPool2d) and letter(layers[1]) == "b"


def normalised(y: Tensor, stats: Statistics, edges: int) -> Tensor:
    """A batch norm's output."""
    return mix([(y, stats, torch.ones(edges, dtype=stats.mean.dtype, device=y.device))])


def factorized_reduce(terms: Terms, modules: Modules) -> tuple[Tensor, Statistics]:
    """All edges' halves on the even and on the odd pixels, put together edge by edge."""
    x = pad_to_even(terms.state.get("relu"))
    halves = []
    for pixels, name in ((terms.state.get("even"), "conv_even"), (x[:, :, 1::2, 1::2], "conv_odd")):
        weight = torch.cat([module.get_submodule(name).weight for module in modules])  # type: ignore[misc]
        halves.append(F.conv2d(pixels, weight.to(x.dtype)).unflatten(1, (terms.state.edges, -1)))
    y = torch.cat(halves, dim=2).flatten(1, 2).contiguous(memory_format=LAST)
    return y, statistics([module.norm for module in modules], y)  # type: ignore[misc]


def add_chain(terms: Terms, layers: Sequence[Modules] | None, row: Tensor) -> bool:
    """Activations, convolutions and batch norms one after another; False: ``layers`` are something else."""
    if layers is None or not can_run(layers) or type(layers[0][0]) is nn.ReLU6:
        return False
    parts = parts_of(layers)
    if parts and can_compile(terms.state.x, parts):
        terms.compiled.append((parts, row))
        return True
    form = "x"
    if type(layers[0][0]) is nn.ReLU:
        layers = layers[1:]
        form = half_form(layers, terms.state.x)
    y, stats = run_shared(layers, terms.state, form)
    (terms.gridded if form == "grids" else terms.normed).append((y, stats, row))
    return True


def add_residual(terms: Terms, modules: Modules, row: Tensor) -> bool:
    """A sandglass, an inverted residual or an asymmetrical bottleneck, and the first channels of the input."""
    first = modules[0]
    assert isinstance(first, Sandglass | InvertedResidual)
    if isinstance(first, InvertedResidual) and isinstance(first.expand, Reuse):
        added = add_reusing(terms, modules, row)
    elif isinstance(first, InvertedResidual):
        whole = [nn.Sequential(module.expand, *narrowing(module)) for module in modules]  # type: ignore[arg-type]
        added = not first.inner and add_chain(terms, layers_of(whole), row)
    else:
        added = add_chain(terms, layers_of([module.layers for module in modules]), row)  # type: ignore[misc]
    if added and first.outer:
        terms.add_common(first_channels(terms.state.x, first.outer, terms.state.x.shape[1]), row)
    return added


def narrowing(module: nn.Module) -> list[nn.Module]:
    """What follows an inverted residual's expansion."""
    return [module.depthwise, module.squeeze, module.project]  # type: ignore[list-item]


def first_channels(x: Tensor, count: int, of: int) -> Tensor:
    """The first ``count`` of ``of`` channels from ``x``, zeros in the place of the others."""
    return x if count == of == x.shape[1] else embed(x[:, :count], 0, of - count)


def embed(x: Tensor, before: int, after: int) -> Tensor:
    """Channels of zeros around ``x``."""
    return F.pad(x.permute(0, 2, 3, 1), (before, after)).permute(0, 3, 1, 2)


def add_reusing(terms: Terms, modules: Modules, row: Tensor) -> bool:
    """An asymmetrical bottleneck: two chains with the copies of the input between."""
    x, edges, expand = terms.state.x, terms.state.edges, modules[0].expand
    assert isinstance(expand, Reuse)
    first = layers_of([module.expand.computed for module in modules])  # type: ignore[misc, union-attr]
    second = layers_of([nn.Sequential(*narrowing(module)) for module in modules])
    if not first or not second or not can_run(first[:-1]) or type(first[-1][0]) is not nn.ReLU6 or not can_run(second):
        return False
    chains = parts_of(first[:-1]), parts_of(second)
    if chains[0] and chains[1] and can_compile(x, [*chains[0], *chains[1]]):
        terms.separate += compiled_reusing(expand, x, chains[0], chains[1], row)
        return True
    computed = F.relu6(normalised(*run_shared(first[:-1], terms.state), edges)).unflatten(1, (edges, -1))
    copy = x.unsqueeze(1).expand(-1, edges, -1, -1, -1)
    wide = torch.cat([copy] * expand.before + [computed] + [copy] * expand.after, dim=2).flatten(1, 2)
    terms.normed.append((*run(second, wide.contiguous(memory_format=LAST)), row))
    return True


def compiled_reusing(
    expand: Reuse, x: Tensor, computed: Sequence[Part], narrowed: Sequence[Part], row: Tensor
) -> list[tuple[int, Tensor]]:
    """The same by compiled kernels; the second chain starts from a map of each edge's own."""
    first, second = Plan(len(row), [computed]), Plan(len(row), [narrowed], separate=True)
    made = CompiledMix.apply(first, x, torch.ones_like(row)[None], *first.parameters)
    wide = [torch.cat([x] * expand.before + [F.relu6(each)] + [x] * expand.after, dim=1) for each in made]
    return list(enumerate(CompiledMix.apply(second, torch.cat(wide), row[None], *second.parameters)))


def add_harmonious(terms: Terms, modules: Modules, row: Tensor) -> bool:
    """The bottlenecks of all edges at once; the half of the channels that is passed on is common."""
    first, x = modules[0], terms.state.x
    assert isinstance(first, Harmonious)
    inner = layers_of([module.bottleneck for module in modules])  # type: ignore[misc]
    outer = layers_of([module.smooth for module in modules])  # type: ignore[misc]
    if not inner or not can_run(inner) or (outer and not can_run(outer)):
        return False
    y, stats = run_shared(inner, terms.state)
    if first.stride == 2:
        x = F.avg_pool2d(x, 2, ceil_mode=True)
    made = y.shape[1] // terms.state.edges
    if first.scale > 1:
        y = first.expand(normalised(y, stats, terms.state.edges))[:, :, : x.shape[2], : x.shape[3]]
        added = first_channels(x, first.added, made).repeat(1, terms.state.edges, 1, 1)
        y, stats = run(outer or [], (y + added).contiguous(memory_format=LAST))
    parts = mix([(y, stats, row)]).chunk(terms.state.edges, dim=1)
    terms.separate += [(edge, embed(part, first.passed, 0)) for edge, part in enumerate(parts)]
    terms.add_common(embed(x[:, x.shape[1] - first.passed :], 0, made), row)
    return True
