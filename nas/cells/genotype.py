"""A found cell as plain data: which operation reads which state at which node.

States are numbered as in the DARTS paper: 0 and 1 are the outputs of the two previous cells, 2 and up its own nodes.
Two written forms, read and written here and compared by value: the JSON document ``nas/genotype/1`` and the text
that the papers publish, ``Genotype(normal=[('sep_conv_3x3', 1), …], normal_concat=range(2, 6), …)``.
"""

import ast
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nas.errors import UsageError

FORMAT = "nas/genotype/1"
KINDS = ("normal", "reduce")

Pair = tuple[str, int]
"""An operation and the state it reads."""


@dataclass(frozen=True)
class Cell:
    """One kind of cell.

    Args:
        nodes: for each node the pairs that are added up there, strongest first; a state may be read twice.
        concat: the states whose concatenation is the cell's output.
    """

    nodes: tuple[tuple[Pair, ...], ...]
    concat: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise UsageError("a cell needs at least one node")
        for node, pairs in enumerate(self.nodes):
            if not pairs:
                raise UsageError(f"node {node} reads no state: each node needs at least one (operation, state) pair")
            for operation, state in pairs:
                if not 0 <= state < node + 2:
                    raise UsageError(f"node {node} reads state {state} by {operation}: it may read 0 to {node + 1}")
        states = len(self.nodes) + 2
        if not self.concat or len(set(self.concat)) != len(self.concat):
            raise UsageError(f"concat {list(self.concat)} must name at least one state, each once")
        if bad := [state for state in self.concat if not 2 <= state < states]:
            raise UsageError(f"concat names state {bad[0]}: it may name 2 to {states - 1}")


@dataclass(frozen=True)
class Genotype:
    """A normal and a reduction cell.

    Args:
        normal: the cell that keeps height and width.
        reduce: the cell that halves them.
        ops: settings of each parametrised operation used, ``{"sandglass_3x3": {"t": 2, "identity": "1"}}``.
        space: name of the space it was found in; information only, not compared.
    """

    normal: Cell
    reduce: Cell
    ops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    space: str = field(default="", compare=False)

    def __hash__(self) -> int:
        return hash((self.normal, self.reduce))

    @property
    def cells(self) -> dict[str, Cell]:
        """The two cells by their kind."""
        return {"normal": self.normal, "reduce": self.reduce}

    @property
    def operations(self) -> list[str]:
        """The names of all operations used, sorted."""
        return sorted({name for cell in self.cells.values() for pairs in cell.nodes for name, _ in pairs})

    def document(self) -> dict[str, Any]:
        """The JSON document ``nas/genotype/1``."""
        cells = {
            kind: {"nodes": [[list(pair) for pair in pairs] for pairs in cell.nodes], "concat": list(cell.concat)}
            for kind, cell in self.cells.items()
        }
        return {"format": FORMAT, "space": self.space, "ops": {k: dict(v) for k, v in self.ops.items()}, **cells}


def from_document(document: Any, where: str = "genotype") -> Genotype:
    """Reads a JSON document.

    Raises:
        UsageError: wrong format, a missing or unknown key, a value of the wrong type, a state that does not exist.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise UsageError(f'{where}: not a genotype: "format" must be "{FORMAT}"')
    if wrong := set(document) ^ {"format", "space", "ops", *KINDS}:
        key = sorted(wrong)[0]
        raise UsageError(f'{where}: {"unknown" if key in document else "missing"} key "{key}"')
    ops = document["ops"]
    if not isinstance(ops, dict) or not all(isinstance(settings, dict) for settings in ops.values()):
        raise UsageError(f'{where}: "ops" must map operation names to their settings')
    normal, reduce = (_cell(document[kind], f"{where}: {kind}") for kind in KINDS)
    return Genotype(normal, reduce, ops, str(document["space"]))


def _cell(document: Any, where: str) -> Cell:
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
        return Cell(nodes, concat)
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
    """The published text form. Nodes with other than two inputs, and operations' settings, cannot be said in it.

    Raises:
        UsageError: a node does not have exactly two inputs.
    """
    parts = []
    for kind, cell in genotype.cells.items():
        if any(len(pairs) != 2 for pairs in cell.nodes):
            raise UsageError(f"the text form has two inputs a node; a node of the {kind} cell has another number")
        parts.append(f"{kind}={[pair for pairs in cell.nodes for pair in pairs]}, {kind}_concat={list(cell.concat)}")
    return f"Genotype({', '.join(parts)})"


def from_text(text: str, where: str = "genotype") -> Genotype:
    """Reads the published text form, with or without ``NAME =`` before it; concat as a list or ``range(…)``.

    No code is run: the text is parsed and only literals are taken.

    Raises:
        UsageError: not of that form.
    """
    try:
        (statement,) = ast.parse(text.strip()).body
        call = statement.value  # type: ignore[attr-defined]
        if not isinstance(call, ast.Call) or getattr(call.func, "id", "") != "Genotype" or call.args:
            raise ValueError
        fields = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
        if set(fields) != {"normal", "normal_concat", "reduce", "reduce_concat"}:
            raise ValueError
        document: dict[str, Any] = {"format": FORMAT, "space": "", "ops": {}}
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
        return range(*(ast.literal_eval(argument) for argument in node.args))
    return ast.literal_eval(node)


def read(text: str, where: str = "genotype") -> Genotype:
    """Reads either form.

    Raises:
        UsageError: neither.
    """
    if not text.lstrip().startswith("{"):
        return from_text(text, where)
    try:
        document = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{where}: malformed JSON: {error}") from None
    return from_document(document, where)
