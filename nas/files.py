"""Files written aside and renamed, so that a crash leaves the old one; JSON read with one-line errors."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from nas.errors import UsageError


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
    write(path, json.dumps(document, indent=1) + "\n")


def read_text(path: Path) -> str:
    """A text file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or 'not a text file'}") from None


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        UsageError: it cannot be read or is malformed.
    """
    try:
        return json.loads(read_text(path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{path}: malformed JSON: {error}") from None
