"""A search epoch by epoch: its mixing weights as a heat map over edges and operations, and the cell as it then was."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from markupsafe import Markup
from torch import Tensor

from nas.bilevel.relaxation import noise_free
from nas.bilevel.stages import space_of_stage, stage_at, stages
from nas.cells.genotype import Genotype, from_document
from nas.cells.graph import FAMILIES, TITLES, family_of, short, state_names
from nas.cells.svg import svg_of_cell
from nas.errors import UsageError
from nas.pages.records import Record
from nas.run import names
from nas.run.log import SearchEpoch
from nas.run.spec import SearchSpec
from nas.space import CellSpace
from nas.space import load as load_space

DIGITS = 4
"""Of the weights in the page."""


@dataclass(frozen=True)
class HeatMap:
    """The mixing weights of a kind of cell.

    Args:
        title: the kind.
        operations, edges: names of columns and rows.
        weights: (epochs, edges, operations); None where an edge does not have the operation.
        chosen: per epoch the places of the cell's edges, row · columns + column.
    """

    title: str
    operations: Sequence[str]
    edges: Sequence[str]
    weights: Sequence[Sequence[Sequence[float | None]]]
    chosen: Sequence[Sequence[int]]

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """The least and the greatest weight of the whole search, between which colours are spread."""
        every = [weight for epoch in self.weights for row in epoch for weight in row if weight is not None]
        return min(every, default=0.0), max(every, default=1.0)

    def shade(self, weight: float) -> float:
        """Where between them a weight lies, from 0 to 1."""
        low, high = self.bounds
        return round((weight - low) / (high - low), 3) if high > low else 0.0


@dataclass(frozen=True)
class Replay:
    """A search's epochs.

    Args:
        name: of the search.
        ident: what the ids of its parts begin with.
        epochs: how many there will be.
        families: of the operations.
        maps: of each kind of cell.
        drawings: of each cell there was, kind by kind.
        cells: per epoch the place of its cell among the drawings.
        lines: per epoch its figures in words.
    """

    name: str
    ident: str
    epochs: int
    families: Sequence[str]
    maps: Sequence[HeatMap]
    drawings: Sequence[Sequence[tuple[str, Markup]]]
    cells: Sequence[int]
    lines: Sequence[str]

    def data(self) -> dict[str, object]:
        """What the script needs."""
        return {
            "cells": self.cells,
            "lines": self.lines,
            "maps": [
                {"low": one.bounds[0], "high": one.bounds[1], "weights": one.weights, "chosen": one.chosen}
                for one in self.maps
            ],
        }


def replay_of(record: Record, ident: str) -> Replay | None:
    """The replay of a search; None: nothing is logged yet."""
    log = record.searches
    if not log:
        return None
    space = space_of(record)
    genotypes = [from_document(entry.genotype) for entry in log]
    shown = list(dict.fromkeys(genotypes))
    return Replay(
        name=record.name,
        ident=ident,
        epochs=record.spec.settings.epochs,
        families=families_of(space.ops),
        maps=[heat_map(record, space, kind, log, genotypes) for kind in log[-1].alphas],
        drawings=[drawings_of(genotype) for genotype in shown],
        cells=[shown.index(genotype) for genotype in genotypes],
        lines=[line(entry) for entry in log],
    )


def space_of(record: Record) -> CellSpace:
    """The space that was searched, which the run holds a copy of.

    Raises:
        UsageError: the copy, or the log, is damaged: the alphas are not of this space.
    """
    path = record.run.path / names.SPACE
    space = load_space(str(path))
    shape = dict.fromkeys(space.kinds, [len(space.ops)] * space.edges)
    if any({kind: [*map(len, rows)] for kind, rows in entry.alphas.items()} != shape for entry in record.searches):
        raise UsageError(
            f"{path} is not the space of {names.LOG} beside it, whose alphas are of other edges or operations"
        )
    return space


def drawings_of(genotype: Genotype) -> list[tuple[str, Markup]]:
    """(Title, drawing) of each cell."""
    return [(TITLES[kind], Markup(svg_of_cell(genotype, kind))) for kind in genotype.cells]


def heat_map(
    record: Record, space: CellSpace, kind: str, log: Sequence[SearchEpoch], genotypes: Sequence[Genotype]
) -> HeatMap:
    """The weights of one kind of cell, free of noise, with the cells that were derived of them."""
    operations = list(space.ops)
    settings = record.run.spec(SearchSpec).settings
    plan = stages(settings)
    weights = []
    for entry in log:
        left = space_of_stage(space, plan, stage_at(plan, entry.epoch + 1), lambda epoch: log[epoch].alphas)
        mask = left.mask(kind)
        mixing = mixing_of(entry, kind, mask, settings.relaxation, space)
        rows = zip(mixing.tolist(), mask.tolist(), strict=True)
        weights.append([[round(w, DIGITS) if there else None for w, there in zip(*row, strict=True)] for row in rows])
    states = state_names(genotypes[0].cells[kind])
    edges = [
        f"{states[state]} → {node}".replace("{", "").replace("}", "")
        for node in range(space.nodes)
        for state in range(node + space.inputs)
    ]
    chosen = [
        [
            space.edge_index(node, state) * len(operations) + operations.index(operation)
            for node, pairs in enumerate(genotype.cells[kind].nodes)
            for operation, state in pairs
            if operation in operations
        ]
        for genotype in genotypes
    ]
    labels = [short(name, settings) for name, settings in space.ops.items()]
    return HeatMap(TITLES[kind], labels, edges, weights, chosen)


def mixing_of(entry: SearchEpoch, kind: str, mask: Tensor, relaxation: str, space: CellSpace) -> Tensor:
    """(edges, operations): the relaxed alphas, times the softmax of a node's betas where edges have such."""
    alphas = torch.tensor(entry.alphas[kind], dtype=torch.float64).masked_fill(~mask, -torch.inf)
    mixing = noise_free(relaxation, alphas)
    if not entry.betas:
        return mixing
    betas = torch.tensor(entry.betas[kind], dtype=torch.float64)
    reads = [node + space.inputs for node in range(space.nodes)]
    return mixing * torch.cat([edges.softmax(0) for edges in betas.split(reads)])[:, None]


def families_of(operations: Iterable[str]) -> list[str]:
    """The families of operations, in the order of the legend."""
    own = {family_of(operation) for operation in operations}
    return [family for family in FAMILIES if family in own]


def line(entry: SearchEpoch) -> str:
    """An epoch's figures."""
    parts = [
        f"train {entry.train_accuracy:.1%}",
        f"held-out {entry.valid_accuracy:.1%}",
        f"entropy {entry.entropy:.3f} nats",
        f"skips {entry.skip_share:.0%}",
    ]
    return ", ".join([*parts, *(f"{name} {value:.3g}" for name, value in signs(entry))])


def signs(entry: SearchEpoch) -> list[tuple[str, float]]:
    """Signs of a collapse that an epoch's line has and others may not."""
    known = ("alignment", "margin", "eigenvalue")
    return [(name, value) for name in known if isinstance(value := getattr(entry, name, None), float)]
