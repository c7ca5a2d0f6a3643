"""What rich shows is text: brackets that a user types are no markup, in whatever is printed."""

import ast
import io
from pathlib import Path

import pytest

import nas
from nas.tables import TEXT, Table
from nas.terminal import bars, console

HARMLESS = {"Live", "Measurement", "Table", "Text", "cell_len", "decimal"}
"""What of rich reads no markup of its own, but as its console does."""


def readers_of_markup(source: str) -> set[str]:
    """What a module takes from rich that may read markup."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "rich":
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.partition(".")[0] == "rich"}
        elif isinstance(node, ast.Attribute) and node.attr in ("from_markup", "render_str"):
            names.add(node.attr)
    return names - HARMLESS


def test_one_module_makes_what_may_read_markup() -> None:
    root = Path(nas.__file__).parent
    found = {str(path.relative_to(root)): readers_of_markup(path.read_text()) for path in root.rglob("*.py")}
    assert {path for path, names in found.items() if names} == {"terminal.py"}
    assert readers_of_markup("from rich import print\nText.from_markup(x)\nimport rich.panel") == {
        "print",
        "from_markup",
        "rich.panel",
    }


@pytest.mark.parametrize("name", ["[/x]", "[bold]x", "{}", "{task.total}", ":smile:"])
def test_what_users_type_is_shown_as_it_is(name: str) -> None:
    assert name in Table(name, {name: TEXT}, [[name]]).text(80)
    screen = console(file=(out := io.StringIO()))
    with bars(screen) as progress:
        progress.add_task(name, total=2)
        progress.print(name)
    assert out.getvalue().count(name) == 2
