"""Search spaces: TOML files, read strictly.

A cell space (``kind = "cell"``) lists the candidate operations of a cell and, where edges differ, those of each edge; a
fragment (``kind = "ops"``) lists operations to add to every edge. ``darts+sandglass:t=6`` is darts.toml plus the
operations of sandglass.toml, with t set to 6.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import tomli_w
import torch
from torch import Tensor

from nas.amounts import share
from nas.blocks import OPS, default_settings
from nas.bounds import MOST_SETTING
from nas.errors import Interrupted, UsageError, nearest
from nas.files import parse_toml, read_text
from nas.skeleton import SKELETONS

Choices = Mapping[str, tuple[tuple[str, ...], ...]]
"""Per cell kind the operations of each edge, in the order of :meth:`CellSpace.edge_index`."""


@dataclass(frozen=True)
class CellSpace:
    """What a cell search chooses from.

    Args:
        name: as the user wrote it, ``darts+sandglass``.
        about: one sentence.
        nodes: intermediate nodes of a cell.
        ops: candidate operations in order, each with its complete settings.
        skeleton: a key of :data:`nas.skeleton.SKELETONS`.
        choices: of the kinds whose edges do not all have all operations.
    """

    name: str
    about: str
    nodes: int
    ops: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    skeleton: str = "darts"
    choices: Choices = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= 16:
            raise UsageError(f"space {self.name}: nodes = {self.nodes}: a cell has 1 to 16 nodes")
        if not any(name != "none" for name in self.ops):
            raise UsageError(f"space {self.name}: it needs at least one operation other than none")
        if self.skeleton not in SKELETONS:
            known = nearest(self.skeleton, list(SKELETONS))
            raise UsageError(f'space {self.name}: unknown skeleton "{self.skeleton}": {known}')
        for kind, edges in self.choices.items():
            self._check_choices(kind, edges)

    def _check_choices(self, kind: str, edges: Sequence[Sequence[str]]) -> None:
        if kind not in self.kinds:
            raise UsageError(
                f'space {self.name}: unknown cell kind "{kind}" in edges: {nearest(kind, list(self.kinds))}'
            )
        if len(edges) != self.edges:
            raise UsageError(
                f"space {self.name}: edges.{kind} has {len(edges)} lists, but a cell has {self.edges} edges"
            )
        for edge, names in enumerate(edges):
            if unknown := [name for name in names if name not in self.ops]:
                known = nearest(unknown[0], list(self.ops))
                raise UsageError(f'space {self.name}: edges.{kind}: operation "{unknown[0]}" is not in ops: {known}')
            if not set(names) - {"none"}:
                raise UsageError(f"space {self.name}: edges.{kind}: edge {edge} has no operation other than none")

    @property
    def inputs(self) -> int:
        """The states of a cell that are no nodes of its own."""
        return SKELETONS[self.skeleton].inputs

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of its cells."""
        return SKELETONS[self.skeleton].kinds

    @property
    def edges(self) -> int:
        """Edges of a cell: node j reads all j + inputs states before it."""
        return self.edge_index(self.nodes, 0)

    def edge_index(self, node: int, state: int) -> int:
        """Row of the edge state → node in the alphas: edges are ordered by node, then state."""
        return node * (node + 2 * self.inputs - 1) // 2 + state

    def readers(self, state: int) -> range:
        """The nodes that read a state."""
        return range(max(0, state - self.inputs + 1), self.nodes)

    def options(self, kind: str, edge: int) -> list[int]:
        """The operations that an edge may have, as places in ``ops``."""
        names = self.choices[kind][edge] if kind in self.choices else self.ops
        return [index for index, name in enumerate(self.ops) if name in names]

    def candidates(self, kind: str, edge: int) -> list[int]:
        """Of these, what the edge of a found cell may have: no ``none`` where a node keeps some of its edges only."""
        all_kept = SKELETONS[self.skeleton].inputs_kept is None
        none = -1 if all_kept or "none" not in self.ops else list(self.ops).index("none")
        return [index for index in self.options(kind, edge) if index != none]

    def mask(self, kind: str) -> Tensor:
        """Whether an edge may have an operation, (edges, operations)."""
        mask = torch.zeros(self.edges, len(self.ops), dtype=torch.bool)
        for edge in range(self.edges):
            mask[edge, self.options(kind, edge)] = True
        return mask

    def with_operation(self, name: str) -> "CellSpace":
        """The space with one more operation on every edge, in the last place."""
        choices = {kind: tuple((*edge, name) for edge in edges) for kind, edges in self.choices.items()}
        return replace(self, ops={**self.ops, name: {}}, choices=choices)

    def settings_of(self, operations: list[str]) -> dict[str, dict[str, Any]]:
        """The settings of those of ``operations`` that have any, as a genotype keeps them."""
        return {name: dict(self.ops[name]) for name in operations if self.ops.get(name)}

    def to_toml(self) -> str:
        """The resolved space as a TOML document that :func:`load` reads back to an equal space."""
        head = {name: getattr(self, name) for name in ("name", "about", "nodes", "skeleton")}
        edges = {"edges": dict(self.choices)} if self.choices else {}
        return tomli_w.dumps({"kind": "cell", **head, "ops": dict(self.ops), **edges})


def load(text: str) -> CellSpace:
    """The cell space called ``darts``, ``darts+ir+sandglass:t=6,identity=1/2`` or ``path/to/space.toml``.

    Raises:
        UsageError: unknown names (with the nearest ones), malformed TOML, settings out of range.
    """
    base, *additions = [text] if Path(text).is_file() else text.split("+")
    document, where = _read(base, "cell")
    ops = _operations(document["ops"], _settings(base), where)
    added: dict[str, dict[str, Any]] = {}
    for addition in additions:
        fragment, place = _read(addition, "ops")
        more = _operations(fragment["ops"], _settings(addition), place)
        if twice := [name for name in more if name in ops | added]:
            raise UsageError(f'space "{text}": +{addition}: {twice[0]} is in the space already')
        added |= more
    choices = {
        kind: tuple((*names, *added) for names in _lists(edges, f"space {where}: edges.{kind}"))
        for kind, edges in document.get("edges", {}).items()
    }
    name, skeleton = document.get("name", _stem(text)), document.get("skeleton", "darts")
    return CellSpace(name, document["about"], document["nodes"], ops | added, skeleton, choices)


def _lists(edges: Any, where: str) -> list[list[str]]:
    lists = edges if isinstance(edges, list) else [None]
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in lists):
        raise UsageError(f"{where} must be a list of lists of operations, one an edge")
    return list(edges)


def names(kind: str) -> list[str]:
    """The spaces of that kind that come with the package."""
    files = (path for path in shipped().iterdir() if path.suffix == ".toml")
    return sorted(path.stem for path in files if f'kind = "{kind}"' in path.read_text())


def shipped() -> Path:
    """The folder of the spaces that come with the package (beside it, in a source checkout)."""
    package = Path(str(resources.files("nas")))
    inside = package / "search_spaces"
    return inside if inside.is_dir() else package.parent / "search_spaces"


def _stem(text: str) -> str:
    return Path(text).stem if text.endswith(".toml") else text


def _path(part: str) -> Path:
    name = part.partition(":")[0]
    return Path(name) if name.endswith(".toml") else shipped() / f"{name}.toml"


KEYS = {"cell": {"kind", "about", "nodes", "ops"}, "ops": {"kind", "about", "ops"}}
OPTIONAL = {"cell": {"name", "skeleton", "edges"}, "ops": {"name"}}
TYPES: dict[str, type] = {
    "kind": str,
    "name": str,
    "about": str,
    "nodes": int,
    "ops": dict,
    "skeleton": str,
    "edges": dict,
}


def _read(part: str, kind: str) -> tuple[dict[str, Any], str]:
    path = _path(part) if not Path(part).is_file() else Path(part)
    if not path.is_file():
        name = part.partition(":")[0]
        raise UsageError(f'unknown space "{name}": {nearest(name, names(kind))}')
    document = parse_toml(read_text(path), f"space {path}")
    if document.get("kind") != kind:
        wanted = {"cell": 'a cell space (kind = "cell")', "ops": 'operations to add (kind = "ops")'}[kind]
        said = f'kind = "{document["kind"]}"' if "kind" in document else "no kind"
        raise UsageError(f"space {path}: {said}, but here {wanted} must stand")
    if wrong := KEYS[kind] - set(document) or set(document) - KEYS[kind] - OPTIONAL[kind]:
        key = sorted(wrong)[0]
        raise UsageError(f'space {path}: {"unknown" if key in document else "missing"} key "{key}"')
    for key, value in document.items():
        if not isinstance(value, TYPES[key]) or isinstance(value, bool):
            raise UsageError(f"space {path}: {key} must be of type {TYPES[key].__name__}")
    return document, str(path)


def _settings(part: str) -> dict[str, Any]:
    if Path(part).is_file():
        return {}
    settings: dict[str, Any] = {}
    for item in filter(None, part.partition(":")[2].split(",")):
        key, equals, value = item.partition("=")
        if not equals or key in settings:
            raise UsageError(f'"{item}" in space "{part}": settings are written name=value, each once')
        settings[key] = _number(value)
    return settings


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _operations(entries: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    unused = set(overrides)
    ops = {}
    for name, settings in entries.items():
        if not isinstance(settings, dict):
            raise UsageError(f"{where}: operation {name} must be a table of settings, such as {{}} or {{ t = 2 }}")
        known = default_settings(name) if name in OPS else {}
        chosen = {key: value for key, value in overrides.items() if key in known}
        unused -= set(chosen)
        ops[name] = complete(name, {**settings, **chosen}, where)
    if unused:
        raise UsageError(f'{where}: no operation here has a setting "{sorted(unused)[0]}"')
    return ops


def complete(name: str, settings: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An operation's complete settings, checked by building it once.

    Raises:
        UsageError: an unknown operation or setting, a value of the wrong type or out of range.
    """
    if name not in OPS:
        raise UsageError(
            f'{where}: unknown operation "{name}": {nearest(name, list(OPS))} (of your own: --ops FILE.py)'
        )
    defaults = default_settings(name)
    if unknown := sorted(set(settings) - set(defaults)):
        raise UsageError(f'{where}: {name} has no setting "{unknown[0]}": {nearest(unknown[0], list(defaults))}')
    complete = {**defaults, **settings}
    if huge := [key for key, value in complete.items() if isinstance(value, int | float) and not _usual(value)]:
        said = f"{huge[0]} = {str(complete[huge[0]])[:20]}"
        raise UsageError(f"{where}: {name}: {said}: it must lie within ± {MOST_SETTING}")
    if "identity" in complete:
        try:
            complete["identity"] = share(str(complete["identity"]))
        except ValueError as error:
            raise UsageError(f'{where}: {name}: identity = "{complete["identity"]}": {error}') from None
    try:
        with torch.device("meta"):
            OPS[name](16, 1, False, **complete)
            OPS[name](16, 2, True, **complete)
    except Interrupted:
        raise
    except Exception as error:  # a user's own operations raise what they like
        said = ", ".join(f"{key}={value}" for key, value in complete.items())
        why = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"{where}: {name} ({said}) cannot be built: {why}") from None
    return complete


def _usual(value: float) -> bool:
    return -MOST_SETTING <= value <= MOST_SETTING
