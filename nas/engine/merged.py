"""The merged engine: all that leaves one state at once; the parameters and the mathematics of MixedFanOut.

What the edges of a state have in common is computed once: both poolings and their batch norms, shortcuts. The
convolutions of one operation on several edges are one; operations that the same edges have are summed together. An
operation is merged by the terms it is made of (:mod:`nas.blocks.segment`), read at construction; one that has none runs
edge by edge.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor, nn

from nas.cells.supernet import MixedFanOut
from nas.engine.backend import Backend, Contribution, Summand, embed
from nas.engine.library.backend import Library
from nas.engine.native.backend import Native
from nas.engine.segments import MergedTerm, merge_terms
from nas.engine.tables import table
from nas.engine.triton.backend import Triton
from nas.errors import UsageError
from nas.execution import Execution
from nas.space import CellSpace

log = logging.getLogger(__name__)

BACKENDS: dict[str, tuple[type[Backend], ...]] = {
    "auto": (Native, Triton, Library),
    "library": (Library,),
    "native": (Native, Library),
    "triton": (Triton, Library),
}
"""What ``--backend`` may name: back ends in the order of preference; the last one can run everything."""
NEEDS = {"native": "a C++ compiler and a CPU", "triton": "a GPU and Triton, which torch brings there"}


@dataclass(frozen=True)
class Operation:
    """One operation on the edges that have it: its place in the space, its modules, its terms if it can be merged."""

    index: int
    modules: tuple[nn.Module, ...]
    terms: Sequence[MergedTerm] | None


class MergedFanOut(MixedFanOut):
    """MixedFanOut's modules, so that a checkpoint fits both engines, run together.

    Args:
        space, kind, state, channels: as of MixedFanOut.
        backends: what may compute it, as in :data:`BACKENDS`.
    """

    def __init__(
        self,
        space: CellSpace,
        kind: str,
        state: int,
        channels: int,
        backends: Sequence[type[Backend]] = BACKENDS["auto"],
    ) -> None:
        super().__init__(space, kind, state, channels)
        self.backends = backends
        self.groups: dict[tuple[int, ...], list[Operation]] = {}
        edges = {node: self.operations(node) for node in self.rows}
        for index, name in enumerate(space.ops):
            modules = {node: operations[index] for node, operations in edges.items() if index in operations}
            if not modules:
                continue
            operation = Operation(index, tuple(modules.values()), merge_terms(list(modules.values())))
            self.groups.setdefault(tuple(modules), []).append(operation)
            if operation.terms is None and getattr(operation.modules[0], "mergeable", True):
                warn_unmerged(name)

    def forward(self, state: Tensor, weights: Tensor) -> list[tuple[int, Tensor]]:
        """State (N, C, H, W) and the cell's mixing weights (edges, operations) → (node, contribution) pairs."""
        kind = state.device.type
        if torch.is_autocast_enabled(kind):
            state = state.to(torch.get_autocast_dtype(kind))
        state = state.contiguous(memory_format=torch.channels_last)
        parts: list[Contribution] = []
        for nodes, operations in self.groups.items():
            rows = weights.index_select(0, table([self.rows[node] for node in nodes], weights)).T
            parts += [(nodes[edge], part) for edge, part in contributions(operations, state, rows, self.backends)]
        return parts


def contributions(
    operations: Sequence[Operation], state: Tensor, rows: Tensor, backends: Sequence[type[Backend]]
) -> list[Contribution]:
    """What leaves a state by operations that the same edges have, by edge; several contributions belong to one.

    Args:
        state: (N, C, H, W), in channels-last memory.
        rows: mixing weights, (operations, edges).
        backends: in the order of preference.
    """
    able = [each for each in backends if each.shares or not dist.is_initialized()]
    sums = [backend(state, rows.shape[1]) for backend in able]
    common: list[Summand] = []
    parts: list[Contribution] = []
    each = rows.unbind()
    shared = next(total for total in sums if total.supports((), state))
    for operation in operations:
        row = each[operation.index]
        if operation.terms is None:
            parts += [(edge, row[edge] * module(state)) for edge, module in enumerate(operation.modules)]
        for term in operation.terms or ():
            if term.common:
                common = add_common(common, shared.common(term, row))
            else:
                parts += enumerate(add(term, row, sums))
    return parts + totals(sums, common)


def check_backend(execution: Execution) -> None:
    """Raises UsageError where there is no such back end, or not on that device; a cluster's is not known."""
    name = execution.backend
    if name not in BACKENDS:
        raise UsageError(f'--backend "{name}": it must be one of {", ".join(BACKENDS)}')
    if name == "auto" or execution.cluster:
        return
    if not BACKENDS[name][0].available(execution.start().partition(":")[0]):
        raise UsageError(f"--backend {name}: it needs {NEEDS[name]}; auto takes the fastest that there is")


@cache
def warn_unmerged(operation: str) -> None:
    """Says once that an operation has no merge rule."""
    log.warning("operation %s has no merge rule: it runs edge by edge, correct but slower", operation)


def add(term: MergedTerm, row: Tensor, sums: Sequence[Backend]) -> Sequence[Tensor]:
    """Adds a term to one of the sums; what stays outside of it, one map an edge or none."""
    total = next(each for each in sums if all(each.supports(stage.chain, each.state) for stage in term.stages))
    starts: Sequence[Tensor] | None = None
    for stage, following in pairwise(term.stages):
        starts = total.step(following.steps, total.maps(stage.chain, torch.ones_like(row), starts))
    chain = term.stages[-1].chain
    if term.zeros == (0, 0):
        return total.add(chain, row, starts)
    return [embed(x, term.zeros) for x in total.maps(chain, row, starts)]


def add_common(summands: list[Summand], new: Summand) -> list[Summand]:
    """The summands and one more; a map that is there already gets the weights of both."""
    same = [each.map is new.map and each.statistics is new.statistics for each in summands]
    if not any(same):
        return [*summands, new]
    return [each._replace(row=each.row + new.row) if own else each for each, own in zip(summands, same, strict=True)]


def totals(sums: Sequence[Backend], common: Sequence[Summand]) -> list[Contribution]:
    """What the sums give; the maps that all edges share belong to the first that is not empty."""
    owner = next((total for total in sums if not total.empty), sums[-1])
    return [part for total in reversed(sums) for part in total.contributions(common if total is owner else ())]
