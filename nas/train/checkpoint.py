"""Checkpoints: numbered files, checksummed, the last two kept; a damaged one is named and the one before it used."""

import hashlib
import io
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import dataclass
from torch import Tensor

from nas.errors import UsageError, first_of
from nas.files import write, write_json
from nas.run.documents import DOCUMENT, Version, as_json, read

KEPT = 2
INDEX = "latest.json"
MOST_THREADS = 1024
"""Of torch, which dies of a million."""
Count = Annotated[int, Field(ge=0)]
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


@dataclass(frozen=True, config=DOCUMENT)
class Entry:
    """A checkpoint that latest.json names: its file, the SHA-256 of its content, the step it was written after."""

    file: Annotated[str, Field(pattern=r"^\d{9,}\.pt$")]
    sha256: Digest
    step: Count = 0


@dataclass(frozen=True, kw_only=True, config=ConfigDict(**DOCUMENT, arbitrary_types_allowed=True))
class State:
    """What a checkpoint holds.

    Args:
        epoch, done: epochs done, and steps of the next one.
        sums: of this epoch so far, by name.
        seconds: it took so far.
        threads: of torch.
        versions: torch's.
        parts: the state of everything that learns, by name.
        log: the lines of log.jsonl; None: written before they were kept.
    """

    epoch: Count
    done: Count
    sums: dict[str, Tensor]
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)]
    versions: dict[str, str]
    parts: dict[str, Any]
    log: list[str] | None = None
    format: Version = 1


def save(folder: Path, step: int, state: State, kept: int = KEPT) -> None:
    """Writes ``<step>.pt`` and then ``latest.json``, which names the last ``kept`` with their SHA-256, newest first.

    Raises:
        UsageError: the folder is gone or not writable, or the disk is full; the checkpoints before stay.
    """
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write checkpoints to {folder}: {error.strerror or error}") from None
    buffer = io.BytesIO()
    torch.save(vars(state), buffer)
    data = buffer.getvalue()
    name = f"{step:09d}.pt"
    if not (folder / INDEX).exists():
        remove_others(folder, [])  # of a first time that was cut off
    write(folder / name, data)
    older = [entry for entry in entries(folder) if entry.file != name][: kept - 1]
    newest = [Entry(name, hashlib.sha256(data).hexdigest(), step), *older]
    write_json(folder / INDEX, [as_json(entry) for entry in newest])
    remove_others(folder, newest)


def remove_others(folder: Path, entries: Sequence[Entry]) -> None:
    """Removes the checkpoints that are not among these."""
    for path in list(folder.glob("*.pt")):
        if path.name not in {entry.file for entry in entries}:
            path.unlink(missing_ok=True)


def entries(folder: Path) -> list[Entry]:
    """What latest.json names, newest first; nothing where there is no checkpoint yet.

    Raises:
        UsageError: it is damaged, or gone; the folder is a file.
    """
    path = folder / INDEX
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: it must be the folder of this run's checkpoints")
    if not path.exists():
        if len(list(folder.glob("*.pt"))) > 1:
            raise UsageError(f"{path} is missing, though there are checkpoints beside it")
        return []
    return read(path, list[Entry])


def load(folder: Path) -> State | None:
    """The newest undamaged checkpoint, or None where none was written yet; reading it runs no code.

    Raises:
        UsageError: there are checkpoints, but all are damaged.
    """
    checkpoints = entries(folder)
    for older, entry in enumerate(checkpoints, 1):
        try:
            return _state(folder, entry)
        except UsageError as error:
            if older == len(checkpoints):
                raise UsageError(f"all checkpoints are damaged, so that this run cannot be resumed: {error}") from None
            print(f"warning: {error}; the one before it is used", file=sys.stderr)
    return None


def load_step(folder: Path, step: int) -> State | None:
    """The checkpoint that was written after a step, or None where there is none or it is damaged."""
    with suppress(UsageError):
        return next((_state(folder, entry) for entry in entries(folder) if entry.step == step), None)
    return None


def _state(folder: Path, entry: Entry) -> State:
    """The content of a file.

    Raises:
        UsageError: it is damaged, or no checkpoint.
    """
    path = folder / entry.file
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f"checkpoint {path} cannot be read: {error.strerror or error}") from None
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise UsageError(f"checkpoint {path} is damaged: its SHA-256 is another one")
    try:
        return State(**torch.load(io.BytesIO(data), map_location="cpu", weights_only=True))
    except ValidationError as error:
        raise UsageError(f"checkpoint {path} is none: {first_of(error)}") from None
    except Exception as error:  # torch.load raises errors of any kind at other files
        raise UsageError(f"checkpoint {path} is none: {type(error).__name__}") from None
