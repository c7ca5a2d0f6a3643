"""A found cell as plain data: which operation reads which state at which node.

States are numbered as in the DARTS paper: 0 and 1 are the outputs of the two previous cells, 2 and up its own nodes;
those of a cell with one input begin at 1. Two written forms, read and written here and compared by value: the JSON
document ``nas/genotype/1``, or ``/2`` where a node reads nothing or the skeleton is not DARTS', and the text that the
papers publish, ``Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), …)`` or ``|skip_connect~0|+…``.
"""

import ast
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from nas.bounds import MOST_STATES
from nas.errors import UsageError, nearest
from nas.files import parse_json
from nas.skeleton import SKELETONS

FORMATS = ("nas/genotype/1", "nas/genotype/2")
KINDS = SKELETONS["darts"].kinds

NASBENCH201 = {
    "conv_1x1": "nor_conv_1x1",
    "conv_3x3": "nor_conv_3x3",
    "avg_pool_3x3_plain": "avg_pool_3x3",
}
"""What NAS-Bench-201 calls our operations, where it has other names."""

Pair = tuple[str, int]
"""An operation and the state it reads."""


@dataclass(frozen=True)
class Cell:
    """One kind of cell.

    Args:
        nodes: for each node the pairs that are added up there, strongest first; a state may be read twice. A node may
            read nothing: it is empty, nothing reads it, and it is not in the output.
        concat: the states whose concatenation is the cell's output.
        inputs: how many states are outputs of cells before it.
    """

    nodes: tuple[tuple[Pair, ...], ...]
    concat: tuple[int, ...]
    inputs: int = 2

    def __post_init__(self) -> None:
        if not self.nodes or len(self.nodes) > MOST_STATES:
            raise UsageError(f"a cell needs at least one node, and has at most {MOST_STATES}")
        empty = {node + self.inputs for node, pairs in enumerate(self.nodes) if not pairs}
        for node, pairs in enumerate(self.nodes):
            for operation, state in pairs:
                if not 0 <= state < node + self.inputs:
                    last = node + self.inputs - 1
                    raise UsageError(f"node {node} reads state {state} by {operation}: it may read 0 to {last}")
                if state in empty:
                    raise UsageError(f"node {node} reads state {state}, a node that reads no state")
        states = len(self.nodes) + self.inputs
        if not self.concat or len(set(self.concat)) != len(self.concat):
            raise UsageError(f"concat {list(self.concat)} must name at least one state, each once")
        if bad := [state for state in self.concat if not self.inputs <= state < states]:
            raise UsageError(f"concat names state {bad[0]}: it may name {self.inputs} to {states - 1}")
        if bad := [state for state in self.concat if state in empty]:
            raise UsageError(f"concat names state {bad[0]}, a node that reads no state")


def pruned(nodes: Sequence[Sequence[Pair]], concat: Sequence[int], inputs: int = 2) -> Cell:
    """The cell of these nodes, some of which may be empty: without the edges from empty ones, which carry nothing, and
    without these in the output.

    Raises:
        UsageError: nothing is left of the output.
    """
    kept: list[tuple[Pair, ...]] = []
    states = set(range(inputs))
    for node, pairs in enumerate(nodes):
        kept.append(tuple(pair for pair in pairs if pair[1] in states))
        if kept[-1]:
            states.add(node + inputs)
    return Cell(tuple(kept), tuple(state for state in concat if state in states), inputs)


@dataclass(frozen=True)
class Genotype:
    """The cells of a network, one of each kind.

    Args:
        normal: the cell that keeps height and width.
        reduce: the cell that halves them; None: the skeleton has none.
        ops: settings of each parametrised operation used, ``{"sandglass_3x3": {"t": 2, "identity": "1"}}``.
        space: name of the space it was found in; information only, not compared.
        skeleton: a key of :data:`nas.skeleton.SKELETONS`.
    """

    normal: Cell
    reduce: Cell | None
    ops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    space: str = field(default="", compare=False)
    skeleton: str = "darts"

    def __post_init__(self) -> None:
        skeleton = SKELETONS[self.skeleton]
        if tuple(self.cells) != skeleton.kinds:
            raise UsageError(f"the skeleton {self.skeleton} has the cells {', '.join(skeleton.kinds)}")
        if wrong := [cell.inputs for cell in self.cells.values() if cell.inputs != skeleton.inputs]:
            raise UsageError(f"a cell of the skeleton {self.skeleton} has {skeleton.inputs} inputs, not {wrong[0]}")

    def __hash__(self) -> int:
        return hash((self.normal, self.reduce))

    @property
    def cells(self) -> dict[str, Cell]:
        """The cells by their kind."""
        return {"normal": self.normal} if self.reduce is None else {"normal": self.normal, "reduce": self.reduce}

    @property
    def edge_operations(self) -> list[str]:
        """The operation of every edge."""
        return [name for cell in self.cells.values() for pairs in cell.nodes for name, _ in pairs]

    @property
    def operations(self) -> list[str]:
        """The names of all operations used, sorted."""
        return sorted(set(self.edge_operations))

    @property
    def digest(self) -> str:
        """Eight hex digits that name the cells, whatever space they were found in."""
        text = json.dumps({**self.document(), "space": ""}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def document(self) -> dict[str, Any]:
        """The JSON document, of the first version where that can say it."""
        plain = self.skeleton == "darts" and all(pairs for cell in self.cells.values() for pairs in cell.nodes)
        head = {"format": FORMATS[0]} if plain else {"format": FORMATS[1], "skeleton": self.skeleton}
        cells = {
            kind: {"nodes": [[list(pair) for pair in pairs] for pairs in cell.nodes], "concat": list(cell.concat)}
            for kind, cell in self.cells.items()
        }
        return {**head, "space": self.space, "ops": {k: dict(v) for k, v in self.ops.items()}, **cells}


def from_document(document: Any, where: str = "genotype") -> Genotype:
    """Reads a JSON document.

    Raises:
        UsageError: wrong format, a missing or unknown key, a value of the wrong type, a state that does not exist.
    """
    if not isinstance(document, dict) or document.get("format") not in FORMATS:
        raise UsageError(f'{where}: not a genotype: "format" must be "{FORMATS[0]}" or "{FORMATS[1]}"')
    first = document["format"] == FORMATS[0]
    skeleton = "darts" if first else document.get("skeleton")
    if not isinstance(skeleton, str) or skeleton not in SKELETONS:
        raise UsageError(f'{where}: "skeleton" = {skeleton!r}: {nearest(str(skeleton), list(SKELETONS))}')
    kinds = SKELETONS[skeleton].kinds
    if wrong := set(document) ^ {"format", "space", "ops", *kinds, *([] if first else ["skeleton"])}:
        key = sorted(wrong)[0]
        raise UsageError(f'{where}: {"unknown" if key in document else "missing"} key "{key}"')
    ops = document["ops"]
    if not isinstance(ops, dict) or not all(isinstance(settings, dict) for settings in ops.values()):
        raise UsageError(f'{where}: "ops" must map operation names to their settings')
    cells = {kind: _cell(document[kind], SKELETONS[skeleton].inputs, f"{where}: {kind}") for kind in kinds}
    if first and (empty := [kind for kind, cell in cells.items() if not all(cell.nodes)]):
        raise UsageError(f"{where}: {empty[0]}: a node reads no state: {FORMATS[0]} does not have that")
    return Genotype(cells["normal"], cells.get("reduce"), ops, str(document["space"]), skeleton)


def _cell(document: Any, inputs: int, where: str) -> Cell:
    try:
        if set(document) != {"nodes", "concat"}:
            raise TypeError
        nodes = tuple(tuple(_pair(pair) for pair in pairs) for pairs in document["nodes"])
        concat = tuple(_index(state) for state in document["concat"])
    except (TypeError, ValueError):
        raise UsageError(
            f'{where}: must be {{"nodes": [[["operation", state], …], …], "concat": [state, …]}}'
        ) from None
    try:
        return Cell(nodes, concat, inputs)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _pair(pair: Any) -> Pair:
    operation, state = pair
    if not isinstance(operation, str):
        raise TypeError
    return operation, _index(state)


def _index(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def to_text(genotype: Genotype) -> str:
    """The published text form, DARTS' or NAS-Bench-201's. Operations' settings cannot be said in it.

    Raises:
        UsageError: a node of a DARTS cell does not have exactly two inputs.
    """
    if genotype.skeleton == "nasbench201":
        return "+".join(map(_bars, genotype.normal.nodes))
    parts = []
    for kind, cell in genotype.cells.items():
        if any(len(pairs) != 2 for pairs in cell.nodes):
            raise UsageError(f"the text form has two inputs a node; a node of the {kind} cell has another number")
        parts.append(f"{kind}={[pair for pairs in cell.nodes for pair in pairs]}, {kind}_concat={list(cell.concat)}")
    return f"Genotype({', '.join(parts)})"


def _bars(pairs: Sequence[Pair]) -> str:
    """A node in NAS-Bench-201's text form."""
    return f"|{'|'.join(f'{NASBENCH201.get(name, name)}~{state}' for name, state in pairs)}|"


def _from_bars(text: str, where: str) -> Genotype:
    """Reads NAS-Bench-201's text form."""
    if not re.fullmatch(r"\|(\w+~\d{1,3}\|)+(\+\|(\w+~\d{1,3}\|)+)*", text):
        raise UsageError(f"{where}: not a genotype; NAS-Bench-201's text form is |op~0|+|op~0|op~1|+|op~0|op~1|op~2|")
    ours = {theirs: name for name, theirs in NASBENCH201.items()}
    pairs = [re.findall(r"(\w+)~(\d+)", node) for node in text.split("+")]
    nodes = tuple(tuple((ours.get(name, name), int(state)) for name, state in node) for node in pairs)
    skeleton = SKELETONS["nasbench201"]
    try:
        cell = Cell(nodes, skeleton.concat(len(nodes)), skeleton.inputs)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return Genotype(cell, None, space="nasbench201", skeleton="nasbench201")


def from_text(text: str, where: str = "genotype") -> Genotype:
    """Reads a published text form.

    NAS-Bench-201's; or DARTS', with or without ``NAME =`` before it; concat as a list or ``range(…)``.

    No code is run: the text is parsed and only literals are taken.

    Raises:
        UsageError: not of that form.
    """
    if text.strip().startswith("|"):
        return _from_bars(text.strip(), where)
    try:
        (statement,) = ast.parse(text.strip()).body
        call = statement.value  # type: ignore[attr-defined]
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Genotype" or call.args:
            raise ValueError
        fields = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
        if set(fields) != {"normal", "normal_concat", "reduce", "reduce_concat"}:
            raise ValueError
        document: dict[str, Any] = {"format": FORMATS[0], "space": "", "ops": {}}
        for kind in KINDS:
            pairs = [list(pair) for pair in fields[kind]]
            if len(pairs) % 2:
                raise ValueError
            nodes = [pairs[start : start + 2] for start in range(0, len(pairs), 2)]
            document[kind] = {"nodes": nodes, "concat": list(fields[f"{kind}_concat"])}
    except (SyntaxError, ValueError, TypeError, AttributeError, RecursionError, MemoryError):
        form = "Genotype(normal=[('op', state), …], normal_concat=[…], reduce=[…], reduce_concat=[…])"
        raise UsageError(f"{where}: not a genotype; the text form is {form}") from None
    return from_document(document, where)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "range" and not node.keywords:
        return range(*(ast.literal_eval(argument) for argument in node.args))[:MOST_STATES]
    return ast.literal_eval(node)


def read(text: str, where: str = "genotype") -> Genotype:
    """Reads any written form.

    Raises:
        UsageError: none of them.
    """
    if not text.lstrip().startswith("{"):
        return from_text(text, where)
    return from_document(parse_json(text, where), where)
