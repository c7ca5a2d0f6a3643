"""The arrows of docs/architecture.md: who may import whom."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "nas"
FILES = sorted(ROOT.rglob("*.py"))
FORBIDDEN = {
    "blocks": ("nas.",),
    "macro": ("nas.cells", "nas.train", "nas.tuning", "nas.architecture", "nas.commands", "nas.cli"),
    "cells": ("nas.macro", "nas.tuning", "nas.architecture", "nas.commands", "nas.cli"),
    "train": ("nas.cells", "nas.macro", "nas.tuning", "nas.commands", "nas.cli"),
    "tune": ("nas.blocks", "nas.cells", "nas.macro.networks", "nas.macro.families", "nas.commands", "nas.cli"),
    "data": ("nas.cells", "nas.macro", "nas.train", "nas.tuning", "nas.architecture", "nas.commands", "nas.cli"),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arrows(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    own = f"nas.{package}"
    for name in imported(path):
        if name.startswith("nas.cli"):
            assert package in ("cli", "__main__.py"), f"{path}: nothing imports the command line"
        for forbidden in FORBIDDEN.get(package, ()):
            assert not name.startswith(forbidden) or name.startswith(own), f"{path} imports {name}"


def test_an_arrow_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from nas.macro import networks\n")
    assert "nas.macro" in imported(file)


def test_help_imports_no_torch() -> None:
    code = "import sys, nas.cli; status = nas.cli.run(['--help']); assert 'torch' not in sys.modules; sys.exit(status)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
