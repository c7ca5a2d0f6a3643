"""A found cell among random ones: kept once made, and at the end of them where it has collapsed."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from nas import space as spaces
from nas.cells.assembly import assemble
from nas.cells.genotype import Genotype
from nas.commands import chance, searching
from nas.commands.chance import against_chance
from nas.errors import UsageError
from nas.run.folder import every
from nas.run.results import SearchResult
from nas.run.spec import Size

SPACE = spaces.load(str(Path(__file__).parents[1] / "small_space.toml"))
SIZE = Size(2, 2)
CHANCE_OF = searching.chance_of
"""Before the fixture that every test has takes its place."""


@dataclass
class Images:
    shape: tuple[int, int, int] = (3, 8, 8)
    classes: tuple[str, ...] = ("a", "b")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def cell_of(operation: str) -> Genotype:
    nodes = [[(operation, 0), (operation, 1)] for _ in range(SPACE.nodes)]
    return assemble(SPACE, dict.fromkeys(SPACE.kinds, nodes))


def missing(*_: object) -> None:
    raise UsageError("no space left on the device")


def test_a_collapsed_cell_is_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    skips = against_chance(cell_of("skip_connect"), SPACE, SIZE, Images(), 12)  # type: ignore[arg-type]
    large = against_chance(cell_of("sep_conv_3x3"), SPACE, SIZE, Images(), 12)  # type: ignore[arg-type]
    assert skips.percentiles.params < 20 < 80 < large.percentiles.params
    assert skips.percentiles.naswot < 20
    assert capsys.readouterr().err.count("once") == 1, "the second time they are read"
    assert "among 12 random cells" in chance.sentence(skips)


def test_marks_are_kept_by_what_they_depend_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = chance.random_marks(SPACE, SIZE, Images(), 3, "")  # type: ignore[arg-type]
    assert chance.random_marks(SPACE, SIZE, Images(), 3, "") == made  # type: ignore[arg-type]
    (file,) = (tmp_path / "nas").glob("chance-*.json")
    file.write_text("{")
    assert chance.random_marks(SPACE, SIZE, Images(), 3, "") == made, "a damaged file is made anew"  # type: ignore[arg-type]
    for size, images, ops in ((Size(4, 2), Images(), ""), (SIZE, Images((3, 10, 10)), ""), (SIZE, Images(), "0")):
        chance.random_marks(SPACE, size, images, 1, ops)  # type: ignore[arg-type]
    assert len(list(file.parent.glob("chance-*.json"))) == 4
    monkeypatch.setattr(chance, "write", missing)
    assert chance.random_marks(SPACE, SIZE, Images(), 2, "")  # type: ignore[arg-type]


def test_a_search_says_it(nas: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(searching, "chance_of", CHANCE_OF)
    small = str(Path(__file__).parents[1] / "small_space.toml")
    size = ("--limit", "32", "--batch", "16", "--channels", "2", "--cells", "2", "--epochs", "1")
    final = ("--final-channels", "2", "--final-cells", "3")
    status, out, err = nas("search", "--space", small, "--data", "digits", *size, *final, "--chance", "4")
    assert status == 0 and "among 4 random cells of the space" in out, err
    (run,) = every(Path("runs"))
    found = run.result(SearchResult).chance
    assert found is not None and found.cells == 4
