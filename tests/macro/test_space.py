"""Macro space files: what is refused, and how."""

from pathlib import Path

import pytest

from nas.errors import UsageError
from nas.macro.space import load
from nas.space import shipped

WHOLE = (shipped() / "mobilenext.toml").read_text()


def file_of(text: str, folder: Path) -> str:
    (folder / "mine.toml").write_text(text)
    return str(folder / "mine.toml")


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ("width = {low = 1, high = 0.5, step = 0.1}", "low must not be above high"),
        ("width = {low = 0.5, high = 1, step = 0}", "step is above 0"),
        ("width = {low = 0.5, high = 1.0, step = 1e-300}", "over 10000 levels"),
        ("width = {low = 0.5, high = inf, step = 0.1}", "over 10000 levels"),
        ("width = {low = 0.5, high = 1.0, step = nan}", "step is above 0"),
        ("width = {low = 'a', high = 1.0, step = 0.1}", "all three are numbers"),
        ("width = {low = 0.5, high = 1.0, step = true}", "all three are numbers"),
        ("width = []", "must be a list of choices"),
        ("width = [{}]", "width"),
        ("resolution = [2]", "a share of the images' side"),
        ("wdth = [1]", "wdth"),
    ],
)
def test_ranges_refused(search: str, said: str, tmp_path: Path) -> None:
    head = WHOLE.partition("[search]")[0]
    with pytest.raises(UsageError, match=said):
        load(file_of(f"{head}[search]\n{search}\n", tmp_path))


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('network = "mobilenext"', "network = {}", "about and network must be texts"),
        ('network = "mobilenext"', 'network = "x"', "unknown network"),
        ('kind = "macro"', 'kind = "cell"', "a macro space must stand"),
        ('kind = "macro"', 'kind = "macro"\nx = 1', 'unknown key "x"'),
        ("[search]", "[search", "malformed TOML"),
    ],
)
def test_files_refused(old: str, new: str, said: str, tmp_path: Path) -> None:
    assert old in WHOLE and load(file_of(WHOLE, tmp_path)).network == "mobilenext"
    with pytest.raises(UsageError, match=said):
        load(file_of(WHOLE.replace(old, new), tmp_path))
