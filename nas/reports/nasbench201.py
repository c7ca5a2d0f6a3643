"""The tabulated CIFAR-10 accuracy of each of NAS-Bench-201's 15,625 cells: truth without retraining.

From the package analog-nasbench (arXiv 2506.18495): one training a cell, 200 epochs, so that cells a quarter of a
percentage point apart are alike. Its data is a pickle, read here without running anything of it.
"""

import hashlib
import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from nas.cells.genotype import Cell, Genotype
from nas.errors import UsageError
from nas.extras import install, need

DATA, SHA256 = "analognasbench/data.anb", "85f3435b877aa2d36268d55ce07f6ff6d73643d17a840f1941745da5eb80db32"
CODES = {"skip_connect": 0, "none": 1, "conv_3x3": 2, "conv_1x1": 3, "avg_pool_3x3_plain": 4}
KINDS = {"fp32": "baseline_accuracy", "ptq": "ptq_accuracy", "qat": "qat_accuracy"}

Key = tuple[int, ...]
"""The codes of the six edges, ordered by the state they leave, then by the node they lead to."""


@dataclass(frozen=True)
class Place:
    """Of a cell among all: its test accuracy, a fraction, and its rank from 1 on; ties share the better one."""

    accuracy: float
    rank: int


@dataclass(frozen=True)
class Lookup:
    """What is known of a cell: in 32 bits, in 8 bits after training (ptq), and trained for 8 bits (qat).

    Args:
        cells: of how many the ranks are.
    """

    cells: int
    fp32: Place
    ptq: Place
    qat: Place


class Row:
    """Stands for the package's classes."""

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.values = dict(state)


class Reader(pickle.Unpickler):
    """Builds nothing but plain values and rows."""

    def find_class(self, module: str, name: str) -> type[Row]:
        """Raises UnpicklingError at any name but the two that the table needs."""
        if module == "analognasbench.data" and name in ("Architecture", "DriftMeasurement"):
            return Row
        raise pickle.UnpicklingError(f"{module}.{name}")


Table = Mapping[str, Mapping[Key, float]]
"""Per kind the accuracies of all cells, in per cent."""


def read_table() -> Table:
    """The package's table.

    Raises:
        UsageError: the package is not there, or its data is not the known one.
    """
    need("nas lookup", "lookup", "analognasbench")
    data = Path(str(distribution("analog-nasbench").locate_file(DATA))).read_bytes()
    if hashlib.sha256(data).hexdigest() != SHA256:
        raise UsageError(f"{DATA} is not that of version 0.1.3: {install('lookup')}")
    rows = Reader(io.BytesIO(data)).load()
    return {kind: {key: row.values[name] for key, row in rows.items()} for kind, name in KINDS.items()}


def look_up(genotype: Genotype, table: Table) -> Lookup:
    """A cell's accuracies and ranks.

    Raises:
        UsageError: it is no cell of NAS-Bench-201's.
    """
    key = key_of(genotype)
    places = {}
    for kind, accuracies in table.items():
        own = accuracies[key]
        places[kind] = Place(round(own / 100, 6), 1 + sum(each > own for each in accuracies.values()))
    return Lookup(len(table["fp32"]), **places)


def key_of(genotype: Genotype) -> Key:
    """The table's name of a cell; an edge that is not there is ``none``.

    Raises:
        UsageError: it is no cell of NAS-Bench-201's.
    """
    cell: Cell = genotype.normal
    edges = {(state, node): name for node, pairs in enumerate(cell.nodes) for name, state in pairs}
    alone = len(edges) == sum(map(len, cell.nodes))
    if genotype.skeleton != "nasbench201" or len(cell.nodes) != 3 or not alone or set(edges.values()) - set(CODES):
        raise UsageError("nas lookup: it is no cell of NAS-Bench-201, 3 nodes of none, skip, 1×1, 3×3 and average pool")
    ends = [(state, node) for state in range(3) for node in range(state, 3)]
    return tuple(CODES[edges.get(end, "none")] for end in ends)
