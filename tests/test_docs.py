"""The pages of docs/: made ones are true, each is in the site's menu, what they link to is there."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs_pages import DOCS, PAGES

ROOT = DOCS.parent


@pytest.mark.parametrize("name", PAGES)
def test_made_pages_are_true(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "write them anew: python -m tests.docs_pages"


def test_every_page_is_in_the_menu() -> None:
    menu = re.findall(r"[\w-]+\.md", (ROOT / "mkdocs.yml").read_text().partition("nav:")[2])
    assert sorted(menu) == sorted(page.name for page in DOCS.glob("*.md"))


@pytest.mark.parametrize("page", [*DOCS.glob("*.md"), ROOT / "README.md"], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8")):
        assert link.startswith("http") or (page.parent / link).exists(), link


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_site_builds(tmp_path: Path) -> None:
    if not find_spec("mkdocs"):
        pytest.skip("mkdocs-material is not installed")
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site")))
    assert (tmp_path / "site" / "latency" / "index.html").is_file()
