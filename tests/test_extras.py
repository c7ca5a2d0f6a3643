"""The distribution's name, and what is said to install an extra."""

import re
import tomllib
from pathlib import Path

import pytest

import nas
from nas import extras

ROOT = Path(nas.__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_the_distribution_has_one_name_and_version() -> None:
    assert PROJECT["name"] == extras.DISTRIBUTION and PROJECT["version"] == nas.__version__
    every = [each for packages in PROJECT["optional-dependencies"].values() for each in packages]
    own = [each for each in every if "nas" in each.partition("[")[0]]
    assert own and all(each.startswith(("mobile-nas[", "analog-nasbench")) for each in own)


def test_a_checkout_is_installed_from_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert extras.install("tune") == f"pip install -e '{ROOT}[tune]'"
    monkeypatch.setattr(extras, "__file__", str(tmp_path / "nas" / "extras.py"))
    assert extras.install("tune") == "pip install 'mobile-nas[tune]'"


def test_pages_and_code_name_the_distribution() -> None:
    """PyPI's ``nas`` is another project's: no hint may install an extra of it."""
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "nas").rglob("*.py")]
    for page in pages:
        assert not re.search(r"(?<![\w-])nas\[\w+\]", page.read_text(encoding="utf-8")), page
    for extra in re.findall(r"mobile-nas\[(\w+)\]", "".join(page.read_text(encoding="utf-8") for page in pages)):
        assert extra in PROJECT["optional-dependencies"]
