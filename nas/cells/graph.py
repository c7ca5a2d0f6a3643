"""A genotype as a networkx graph, and that graph as DOT, GraphML or node-link JSON.

One directed multigraph holds all cells. Its attributes are scalars only, so every graph tool reads them; what a scalar
cannot say (a list among an operation's settings) is written as a string ``json:…``.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

import networkx

from nas.cells.genotype import Cell, Genotype
from nas.errors import UsageError, nearest
from nas.files import parse_json
from nas.skeleton import SKELETONS

FORMAT = "nas/graph/1"
CONCAT = "concat"
TITLES = {"normal": "Normal cell", "reduce": "Reduction cell"}

FAMILIES: dict[str, tuple[str, tuple[str, ...]]] = {
    "separable convolution": ("#0B62A8", ("sep_conv",)),
    "dilated convolution": ("#7A3E9D", ("dil_conv",)),
    "convolution": ("#7A5A00", ("conv_",)),
    "mobile block": ("#00754A", ("inverted_residual", "sandglass", "harmonious", "asymmetric", "pruned")),
    "pooling": ("#BF3F0A", ("max_pool", "avg_pool")),
    "skip connection": ("#333333", ("skip_connect",)),
    "noise": ("#8F2D56", ("noise",)),
    "none": ("#777777", ("none",)),
    "user's operation": ("#B0206C", ("",)),
}
"""The families of operations in the order of the legend: colour, and how the operations' names begin."""

_RESERVED = {"op", "rank", "id", "key", "source", "target"}
_SHAPES = {"input": "box", "node": "circle", "output": "box"}


def state_names(cell: Cell) -> list[str]:
    """The states of a cell by name: ``c_{k-2}`` (of two inputs), ``c_{k-1}``, ``0``, ``1``, …, its output ``c_{k}``."""
    return [*(f"c_{{k-{back}}}" for back in range(cell.inputs, 0, -1)), *map(str, range(len(cell.nodes))), "c_{k}"]


def family_of(operation: str) -> str:
    """The family of an operation, a key of ``FAMILIES``; one of unknown name is the user's own."""
    return next(name for name, (_, beginnings) in FAMILIES.items() if operation.startswith(beginnings))


def short(operation: str, settings: Mapping[str, Any] | None = None) -> str:
    """What stands on an edge, ``sandglass 3×3 t=2``: of the settings those of one letter, the others go into a note."""
    name = "skip" if operation == "skip_connect" else operation.replace("inverted_residual", "inv. residual")
    name = re.sub(r"(?<=\d)x(?=\d)", "×", name.replace("_", " ")).strip() or operation
    return " ".join([*name.split(), *(f"{key}={value}" for key, value in (settings or {}).items() if len(key) == 1)])


def to_graph(genotype: Genotype) -> networkx.MultiDiGraph:
    """The cells as one graph with nodes ``normal/c_{k-2}``, ``normal/0``, …, ``reduce/c_{k}``.

    Nodes have ``cell``, ``role`` (input, node or output) and ``state``. Edges have ``op``, ``rank`` (place among the
    inputs of the node read into) and the operation's settings; those into an output have the operation ``concat``.
    """
    graph = networkx.MultiDiGraph(format=FORMAT, space=genotype.space, skeleton=genotype.skeleton)
    for kind, cell in genotype.cells.items():
        names = [f"{kind}/{name}" for name in state_names(cell)]
        roles = [*["input"] * cell.inputs, *["node"] * len(cell.nodes), "output"]
        for state, (name, role) in enumerate(zip(names, roles, strict=True)):
            graph.add_node(name, cell=kind, role=role, state=state)
        readings = [*cell.nodes, [(CONCAT, state) for state in cell.concat]]
        for target, pairs in zip(names[cell.inputs :], readings, strict=True):
            for rank, (operation, source) in enumerate(pairs):
                settings = {} if target == names[-1] else _flat(genotype.ops.get(operation, {}))
                attributes = {"op": operation, "rank": rank, **settings}
                # Unique keys become unique edge ids in GraphML; networkx numbers only parallel edges.
                graph.add_edges_from([(names[source], target, f"{target}#{rank}", attributes)])
    unsaid = {name: dict(settings) for name, settings in genotype.ops.items() if not _said(genotype, name)}
    if unsaid:
        graph.graph["ops"] = json.dumps(unsaid)
    return graph


def from_graph(graph: networkx.MultiDiGraph) -> Genotype:
    """The genotype that ``to_graph`` made the graph from, also after a trip through GraphML or JSON.

    Raises:
        UsageError: not such a graph.
    """
    if graph.graph.get("format") != FORMAT:
        raise UsageError(f'not a graph of a genotype: its attribute "format" must be "{FORMAT}"')
    try:
        ops: dict[str, dict[str, Any]] = parse_json(graph.graph.get("ops", "{}"), "ops")
        skeleton = str(graph.graph.get("skeleton", "darts"))
        cells = {kind: _cell(graph, kind, ops, SKELETONS[skeleton].inputs) for kind in SKELETONS[skeleton].kinds}
    except UsageError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UsageError(f"not a graph of a genotype: {type(error).__name__}: {error}") from None
    return Genotype(cells["normal"], cells.get("reduce"), ops, str(graph.graph.get("space", "")), skeleton)


def read_graph(text: str, where: str) -> Genotype:
    """The genotype in a graph's text, GraphML or node-link JSON, as :func:`write_graph` or a graph tool wrote it.

    Raises:
        UsageError: not such a graph.
    """
    try:
        if text.lstrip().startswith("<"):
            graph = networkx.parse_graphml(text)
        else:
            graph = networkx.node_link_graph(parse_json(text, where), edges="edges")
    except (networkx.NetworkXException, SyntaxError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: not a graph: {error}") from None
    return from_graph(graph)


def write_graph(genotype: Genotype, kind: str) -> str:
    """The graph as text: ``dot`` for graphviz, ``graphml``, or ``json`` (networkx node-link, edges under ``edges``).

    Raises:
        UsageError: another kind.
    """
    graph = to_graph(genotype)
    if kind == "dot":
        return _dot(graph)
    if kind == "graphml":
        return "\n".join(networkx.generate_graphml(graph)) + "\n"
    if kind == "json":
        return json.dumps(networkx.node_link_data(graph, edges="edges"), indent=2) + "\n"
    raise UsageError(f'unknown graph kind "{kind}": {nearest(kind, ["dot", "graphml", "json"])}')


def _cell(graph: networkx.MultiDiGraph, kind: str, ops: dict[str, dict[str, Any]], inputs: int) -> Cell:
    """One cell; the settings found on its edges are added to ``ops``."""
    members = [(data["state"], name) for name, data in graph.nodes(data=True) if data["cell"] == kind]
    readings = []
    for _, name in sorted(members)[inputs:]:
        edges = sorted(graph.in_edges(name, data=True), key=lambda edge: int(edge[2]["rank"]))
        readings.append(tuple((str(data["op"]), int(graph.nodes[source]["state"])) for source, _, data in edges))
        if graph.nodes[name]["role"] == "output":
            continue
        for _, _, data in edges:
            settings = _deep(data)
            if settings and ops.setdefault(data["op"], settings) != settings:
                raise UsageError(f"operation {data['op']} has different settings on two edges of the graph")
    if not readings:
        raise UsageError(f"the graph has no {kind} cell")
    *nodes, concat = readings
    return Cell(tuple(nodes), tuple(state for _, state in concat), inputs)


def _said(genotype: Genotype, operation: str) -> bool:
    """Whether some edge of the graph carries the operation's settings."""
    return bool(genotype.ops[operation]) and operation in genotype.operations


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as edge attributes: scalars, and an underscore behind names that mean something on every edge."""
    attributes = {}
    for name, value in settings.items():
        plain = isinstance(value, bool | int | float) or (isinstance(value, str) and not value.startswith("json:"))
        key = f"{name}_" if name.rstrip("_") in _RESERVED else name
        attributes[key] = value if plain else f"json:{json.dumps(value)}"
    return attributes


def _deep(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings out of edge attributes: the inverse of ``_flat``."""
    settings = {}
    for key, value in attributes.items():
        if key in _RESERVED:
            continue
        name = key[:-1] if key.rstrip("_") in _RESERVED else key
        coded = isinstance(value, str) and value.startswith("json:")
        settings[name] = parse_json(value.removeprefix("json:"), name) if coded else value
    return settings


def _dot(graph: networkx.MultiDiGraph) -> str:
    """Graphviz text: from left to right, a cluster a cell."""
    lines = ["digraph genotype {", "  rankdir=LR;", '  node [fontname="Helvetica"];', '  edge [fontname="Helvetica"];']
    for kind in dict.fromkeys(data["cell"] for _, data in graph.nodes(data=True)):
        lines += [f"  subgraph {_quoted(f'cluster_{kind}')} {{", f"    label={_quoted(TITLES[kind])};"]
        for name, data in graph.nodes(data=True):
            if data["cell"] == kind:
                look = {"label": name.removeprefix(f"{kind}/"), "shape": _SHAPES[data["role"]]}
                lines.append(f"    {_quoted(name)} {_listed(look)};")
        lines.append("  }")
    for source, target, data in graph.edges(data=True):
        style: dict[str, Any] = {"op": data["op"], "rank": data["rank"], "color": "gray"}
        if graph.nodes[target]["role"] != "output":
            colour, label = FAMILIES[family_of(data["op"])][0], short(data["op"], _deep(data))
            style |= {"label": label, "color": colour, "fontcolor": colour}
        lines.append(f"  {_quoted(source)} -> {_quoted(target)} {_listed(style)};")
    return "\n".join([*lines, "}"]) + "\n"


def _listed(attributes: Mapping[str, Any]) -> str:
    return f"[{', '.join(f'{name}={_quoted(value)}' for name, value in attributes.items())}]"


def _quoted(value: Any) -> str:
    text = str(value).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
