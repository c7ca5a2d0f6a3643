"""Documents that are damaged, deep or huge are a line that names them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas import files
from nas.errors import UsageError

DIGITS = "1" + "0" * 10_000


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        *((files.parse_json, text) for text in ("", "{", "[" * 100_000, f"[{DIGITS}]", " " * (files.LARGEST_JSON + 1))),
        *((files.parse_toml, text) for text in ("a", f"a = {'[' * 10_000}", f"a = {DIGITS}", "a." * 1000 + "b = 1")),
        (files.parse_toml, "#" * (files.LARGEST_TOML + 1)),
    ],
)
def test_refused(parse: Callable[[str, str], Any], text: str) -> None:
    with pytest.raises(UsageError, match="there: malformed"):
        parse(text, "there")


def test_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log.jsonl"
    assert files.read_lines(path) == []
    path.write_bytes(b"one\n\xfftwo")
    assert files.read_lines(path) == ["one", "\ufffdtwo"]
    with pytest.raises(UsageError, match="not a text file"):
        files.read_text(path)
    monkeypatch.setattr(files, "LARGEST_TEXT", 7)
    with pytest.raises(UsageError, match=r"log\.jsonl: it has more than"):
        files.read_lines(path)
