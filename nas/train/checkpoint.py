"""Checkpoints: numbered files, checksummed, the last two kept; a damaged one is named and the one before it used."""

import hashlib
import io
import sys
from pathlib import Path
from typing import Any

import torch

from nas.errors import UsageError
from nas.files import read_json, write, write_json

KEPT = 2


def save(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Writes ``<step>.pt`` and then ``latest.json``, which names the last two with their SHA-256, newest first.

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
    older = [entry for entry in entries(folder) if entry["file"] != name][: KEPT - 1]
    kept = [{"file": name, "step": step, "sha256": hashlib.sha256(data).hexdigest()}, *older]
    write_json(folder / "latest.json", kept)
    for path in folder.glob("*.pt"):
        if path.name not in {entry["file"] for entry in kept}:
            path.unlink(missing_ok=True)


def entries(folder: Path) -> list[dict[str, Any]]:
    """What latest.json names, newest first; nothing where there is no checkpoint yet."""
    path = folder / "latest.json"
    if not path.is_file():
        if len(list(folder.glob("*.pt"))) > 1:
            raise UsageError(f"{path} is missing, though there are checkpoints beside it")
        return []
    found = read_json(path)
    if not isinstance(found, list) or not all(isinstance(e, dict) and {"file", "sha256"} <= set(e) for e in found):
        raise UsageError(f"{path}: not a list of checkpoints")
    return found


def load(folder: Path) -> dict[str, Any] | None:
    """The newest undamaged checkpoint, or None where none was written yet; reading it runs no code.

    Raises:
        UsageError: there are checkpoints, but all are damaged.
    """
    found = entries(folder)
    for older, entry in enumerate(found, 1):
        path = folder / str(entry["file"])
        try:
            data = path.read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() == entry["sha256"]:
            state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
            return state
        if older < len(found):
            print(f"warning: checkpoint {path} is damaged; the one before it is used", file=sys.stderr)
    if found:
        raise UsageError(f"all checkpoints in {folder} are damaged: this run cannot be resumed")
    return None
