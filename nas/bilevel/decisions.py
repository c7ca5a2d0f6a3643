"""What selection by perturbation decides, round by round: each edge's operation, then which of a node's edges go.

In the order of DARTS-PT (Wang et al., ICLR 2021, Algorithm 1): a round decides about one edge of each cell kind; once
all have their operations, about one node of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.cells.assembly import assemble
from nas.cells.genotype import Genotype
from nas.cells.supernet import Softmax
from nas.moment import Moment
from nas.rng import generator
from nas.skeleton import SKELETONS
from nas.space import CellSpace

OPEN = -1
"""Stands for the operation of an edge about which nothing is decided."""


class Choices(Softmax):
    """A relaxation of which some edges have their operation already, and some are gone.

    Args:
        inner: the search's own.
        space: of the cells.
        device: of the supernet.
    """

    def __init__(self, inner: Softmax, space: CellSpace, device: str) -> None:
        self.inner, self.space, self.recordable = inner, space, inner.recordable
        edges, shape = space.edges, (space.edges, len(space.ops))
        self.operations = {kind: torch.full((edges,), OPEN, device=device) for kind in space.kinds}
        self.present = {kind: torch.ones(edges, dtype=torch.bool, device=device) for kind in space.kinds}
        self.mask = {kind: torch.ones(shape, device=device) for kind in space.kinds}
        self.accuracies: list[float] = []

    def __call__(self, kind: str, alphas: Tensor) -> Any:
        operations = self.operations[kind]
        fixed = F.one_hot(operations.clamp_min(0), alphas.shape[1]).to(alphas)
        weights = torch.where((operations == OPEN)[:, None], self.inner(kind, alphas), fixed)
        return weights * self.present[kind][:, None] * self.mask[kind]

    def strengths(self, alphas: Tensor) -> Tensor:
        return self.inner.strengths(alphas)

    def draw(self, moment: Moment) -> None:
        self.inner.draw(moment)

    def clear(self) -> None:
        self.inner.clear()

    def state_dict(self) -> dict[str, Any]:
        """What is decided, and the accuracies of the running decision."""
        return {"operations": self.operations, "present": self.present, "accuracies": self.accuracies}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up a state."""
        for kind in self.space.kinds:
            self.operations[kind].copy_(state["operations"][kind])
            self.present[kind].copy_(state["present"][kind])
        self.accuracies = list(state["accuracies"])

    def genotype(self) -> Genotype:
        """The cell, once all is decided."""
        names = list(self.space.ops)
        nodes = {
            kind: [
                [
                    (names[int(self.operations[kind][edge])], state)
                    for state in range(node + self.space.inputs)
                    if self.present[kind][edge := self.space.edge_index(node, state)]
                ]
                for node in range(self.space.nodes)
            ]
            for kind in self.space.kinds
        }
        return assemble(self.space, nodes)


@dataclass(frozen=True)
class Operation:
    """Which of its operations an edge has: that whose removal hurts most."""

    kind: str
    edge: int
    operations: Sequence[int]

    @property
    def trials(self) -> int:
        """How many they are."""
        return len(self.operations)

    def mask(self, choices: Choices, trial: int) -> None:
        """Masks one."""
        choices.mask[self.kind][self.edge, self.operations[trial]] = 0

    def decide(self, choices: Choices) -> None:
        """Decides by the accuracies without each; the earlier of equals."""
        worst = choices.accuracies.index(min(choices.accuracies))
        choices.operations[self.kind][self.edge] = self.operations[worst]


@dataclass(frozen=True)
class Deletion:
    """Which of a node's edges goes: that whose removal hurts least. ``trials`` of them are left."""

    kind: str
    edges: Sequence[int]
    trials: int

    def mask(self, choices: Choices, trial: int) -> None:
        """Masks one."""
        choices.mask[self.kind][self.left(choices)[trial]] = 0

    def decide(self, choices: Choices) -> None:
        """Decides by the accuracies without each; the lower state of equals."""
        best = choices.accuracies.index(max(choices.accuracies))
        choices.present[self.kind][self.left(choices)[best]] = False

    def left(self, choices: Choices) -> list[int]:
        """The node's edges that are still there."""
        return [edge for edge in self.edges if choices.present[self.kind][edge]]


Decision = Operation | Deletion


def rounds(space: CellSpace, seed: int) -> list[list[Decision]]:
    """The decisions of each round, in the order that belongs to the seed."""
    kept = SKELETONS[space.skeleton].inputs_kept
    reads = {node: node + space.inputs for node in range(space.nodes)}
    crowded = [node for node, inputs in reads.items() if kept is not None and inputs > kept]

    def operations(kind: str, edge: int) -> list[Decision]:
        return [Operation(kind, edge, space.candidates(kind, edge))]

    def deletions(kind: str, place: int) -> list[Decision]:
        node = crowded[place]
        edges = [space.edge_index(node, state) for state in range(reads[node])]
        return [Deletion(kind, edges, left) for left in range(reads[node], kept or 0, -1)]

    every: list[list[Decision]] = []
    for phase, (count, decide) in enumerate([(space.edges, operations), (len(crowded), deletions)]):
        streams = [generator(seed, "projection", phase, row) for row in range(len(space.kinds))]
        orders = [torch.randperm(count, generator=stream).tolist() for stream in streams]
        every += [
            [decision for kind, place in zip(space.kinds, places, strict=True) for decision in decide(kind, place)]
            for places in zip(*orders, strict=True)
        ]
    return every
