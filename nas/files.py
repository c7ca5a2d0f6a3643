"""Files written aside and renamed, so that a crash leaves the old one; JSON and TOML read with one-line errors."""

import contextlib
import json
import os
import tomllib
from pathlib import Path
from typing import Any

from nas.errors import UsageError

LARGEST_TEXT = 2**28
"""Bytes of a text file: a log of 10,000 epochs with their alphas has half as many."""
LARGEST_JSON, LARGEST_TOML = 2**24, 2**18
"""Characters of a document: ten times the largest that is written. Brackets alone, so many, take a gigabyte."""
MOST_DOTS = 500
"""In a line of TOML: time and memory of a dotted key grow with the square of its parts."""


def cache() -> Path:
    """The folder of what can be made again.

    Raises:
        UsageError: this user has no home.
    """
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nas"
    except RuntimeError:
        raise UsageError("there is no home folder: set XDG_CACHE_HOME") from None


def write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all.

    Raises:
        UsageError: the folder is gone or not writable, or the disk is full.
    """
    if not path.name:
        raise UsageError(f'cannot write "{path}": it is the name of no file')
    aside = path.with_name(f".{path.name}.part")
    data = content.encode() if isinstance(content, str) else content
    try:
        if path.exists() and not path.is_file():  # /dev/null, a pipe: nothing that may be replaced
            path.write_bytes(data)
            return
        with aside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()  # a full disk needs the room
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None


def write_json(path: Path, document: Any) -> None:
    """Writes a JSON document, indented."""
    write(path, json_text(document))


def json_text(document: Any) -> str:
    """A JSON document as it is written."""
    return json.dumps(document, indent=1, allow_nan=False) + "\n"


def read_text(path: Path, errors: str = "strict") -> str:
    """A text file.

    Args:
        errors: what becomes of bytes that are no UTF-8, as of :func:`open`.

    Raises:
        UsageError: it cannot be read, or is longer than any text is.
    """
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise UsageError(f"cannot read {path}: it has more than {LARGEST_TEXT >> 20} MiB")
        return path.read_text(encoding="utf-8", errors=errors)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"cannot read {path}: not a text file") from None


def read_lines(path: Path) -> list[str]:
    """The lines of a file that grows by them, damaged ones too; none where it is not there."""
    return read_text(path, errors="replace").splitlines() if path.is_file() else []


def parse_json(text: str, where: str) -> Any:
    """A JSON document.

    Raises:
        UsageError: it is malformed, too long or too deep.
    """
    try:
        if len(text) > LARGEST_JSON:
            raise ValueError(f"it has more than {LARGEST_JSON >> 20} MiB")
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # of a number with too many digits it is a plain ValueError
        raise UsageError(f"{where}: malformed JSON: {error}") from None


def parse_toml(text: str, where: str) -> dict[str, Any]:
    """A TOML document; errors as of :func:`parse_json`."""
    try:
        if len(text) > LARGEST_TOML or any(line.count(".") > MOST_DOTS for line in text.splitlines()):
            raise ValueError("it is larger than any document here")
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: malformed TOML: {error}") from None


def read_json(path: Path) -> Any:
    """The JSON document in a file; errors as of :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path), str(path))
