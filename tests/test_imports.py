"""The arrows of docs/architecture.md: who may import whom, and no circle, imports inside of functions included."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import networkx
import pytest

import nas

ROOT = Path(nas.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
SHARED = {
    "amounts",
    "bounds",
    "errors",
    "execution",
    "extras",
    "files",
    "knobs",
    "methods",
    "moment",
    "plugins",
    "presets",
    "rng",
    "settings",
    "signals",
    "skeleton",
    "space",
    "tables",
    "terminal",
}
"""Modules at the top that any folder but ``blocks`` may import."""
MAY_IMPORT: dict[str, set[str]] = {
    "blocks": set(),
    "cells": {"blocks"},
    "macro": {"blocks"},
    "engine": {"blocks", "cells"},
    "costs": {"blocks"},
    "data": set(),
    "run": set(),
    "latency": {"run"},
    "train": {"architecture", "blocks", "costs", "data", "engine", "run"},
    "bilevel": {"cells", "engine", "train", "data", "run"},
    "cluster": {"run", "train"},
    "tuning": {"architecture", "cluster", "costs", "data", "exporting", "latency", "reports", "run", "train"},
    "pages": {"architecture", "bilevel", "cells", "macro", "reports", "run", "tuning"},
    "reports": {"cells", "run"},
    "doctor": {"architecture", "bilevel", "cells", "cluster", "data", "engine", "run", "train"},
    "exporting": {"architecture", "blocks", "cells", "costs", "data", "train"},
}
"""What each folder may import beside itself and the shared modules; ``commands`` and ``cli`` may import all."""
API = ("search", "retrain", "tune", "derive", "study", "evaluate", "export", "cost", "compare", "report", "load")


def module_of(path: Path) -> str:
    """nas/cells/draw.py → nas.cells.draw, nas/cells/__init__.py → nas.cells"""
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path) for path in FILES}


def imports_of(path: Path) -> set[str]:
    """Our modules that a file imports anywhere, for types alone included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {known for name in names if (known := longest(name))}


def longest(name: str) -> str:
    """The module of ours that an imported name is, or lies in; empty: none, or the package itself."""
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name if name in MODULES and name != "nas" else ""


def folder_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def circles(name: Callable[[str], str]) -> list[list[str]]:
    graph = networkx.DiGraph()
    for path in FILES:
        source = module_of(path)
        graph.add_edges_from((name(source), name(target)) for target in imports_of(path))
    graph.remove_edges_from([(node, node) for node in graph])
    return [sorted(part) for part in networkx.strongly_connected_components(graph) if len(part) > 1]


def test_no_circle_of_files() -> None:
    assert circles(str) == []


def test_no_circle_of_folders() -> None:
    assert circles(folder_of) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    own = folder_of(module_of(path))
    targets = {folder_of(target) for target in imports_of(path)} - {own}
    assert "cli" not in targets or own == "__main__", "nothing imports the command line"
    if own in MAY_IMPORT:
        allowed = MAY_IMPORT[own] | (SHARED if own != "blocks" else set())
        assert targets <= allowed, f"{path} imports {targets - allowed}"


def test_every_folder_has_its_arrows() -> None:
    folders = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert folders == {*MAY_IMPORT, "commands", "cli"}


def test_arrows_and_circles_can_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from nas.macro import networks\n    import nas.cells.draw\n")
    assert imports_of(file) == {"nas.macro.networks", "nas.cells.draw"}
    one, other = ROOT / "cells" / "draw.py", ROOT / "cells" / "graph.py"
    monkeypatch.setattr(sys.modules[__name__], "FILES", [one, other])
    monkeypatch.setattr(sys.modules[__name__], "imports_of", lambda path: {module_of(other if path == one else one)})
    assert circles(str) == [["nas.cells.draw", "nas.cells.graph"]]


def test_no_module_hides_a_function_of_the_api() -> None:
    """Importing a submodule sets an attribute of its package: ``import nas.cost`` would replace such a function."""
    for module in pkgutil.walk_packages([str(ROOT)], "nas."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert not {f"nas.{name}" for name in (*API, "features")} & MODULES
    for name in nas.__all__:
        assert callable(getattr(nas, name)) and name in dir(nas)


def test_help_imports_no_torch() -> None:
    code = "import sys, nas.cli; status = nas.cli.run(['--help']); assert 'torch' not in sys.modules; sys.exit(status)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
