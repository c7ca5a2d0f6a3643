"""Checkpoints: numbered files, checksummed, the last two kept; a damaged one is named and the one before it used."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.files import write, write_json
from nas.run.documents import DOCUMENT, as_json, read

KEPT = 2
INDEX = "latest.json"


@dataclass(frozen=True, config=DOCUMENT)
class Entry:
    """A checkpoint that latest.json names: its file, the SHA-256 of its content, the step it was written after."""

    file: str
    sha256: str
    step: int = 0


def save(folder: Path, step: int, state: dict[str, Any], kept: int = KEPT) -> None:
    """Writes ``<step>.pt`` and then ``latest.json``, which names the last ``kept`` with their SHA-256, newest first.

    Raises:
        UsageError: the folder is gone or not writable, or the disk is full; the checkpoints before stay.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write checkpoints to {folder}: {error.strerror or error}") from None
    buffer = io.BytesIO()
    torch.save(state, buffer)
    data = buffer.getvalue()
    name = f"{step:09d}.pt"
    write(folder / name, data)
    older = [entry for entry in entries(folder) if entry.file != name][: kept - 1]
    newest = [Entry(name, hashlib.sha256(data).hexdigest(), step), *older]
    write_json(folder / INDEX, [as_json(entry) for entry in newest])
    for path in folder.glob("*.pt"):
        if path.name not in {entry.file for entry in newest}:
            path.unlink(missing_ok=True)


def entries(folder: Path) -> list[Entry]:
    """What latest.json names, newest first; nothing where there is no checkpoint yet."""
    path = folder / INDEX
    if not path.is_file():
        if len(list(folder.glob("*.pt"))) > 1:
            raise UsageError(f"{path} is missing, though there are checkpoints beside it")
        return []
    return read(path, list[Entry])


def load(folder: Path) -> dict[str, Any] | None:
    """The newest undamaged checkpoint, or None where none was written yet; reading it runs no code.

    Raises:
        UsageError: there are checkpoints, but all are damaged.
    """
    checkpoints = entries(folder)
    for older, entry in enumerate(checkpoints, 1):
        state = _state(folder / entry.file, entry.sha256)
        if state is not None:
            return state
        if older < len(checkpoints):
            print(f"warning: checkpoint {folder / entry.file} is damaged; the one before it is used", file=sys.stderr)
    if checkpoints:
        raise UsageError(f"all checkpoints in {folder} are damaged: this run cannot be resumed")
    return None


def load_step(folder: Path, step: int) -> dict[str, Any] | None:
    """The checkpoint that was written after a step, or None where there is none or it is damaged."""
    entry = next((entry for entry in entries(folder) if entry.step == step), None)
    return _state(folder / entry.file, entry.sha256) if entry else None


def _state(path: Path, sha256: str) -> dict[str, Any] | None:
    """The content of a file, None where it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if hashlib.sha256(data).hexdigest() != sha256:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return state
