"""Users' own operations: the only code that is ever loaded, and only from a file named by ``--ops``."""

import hashlib
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nas.blocks import OPS
from nas.errors import UsageError
from nas.run.spec import OpsFile

Operations = dict[str, Callable[..., Any]]
_registered: dict[Path, tuple[OpsFile, Operations]] = {}


def files() -> list[Path]:
    """The files registered so far, in order, for another process to register."""
    return list(_registered)


def register(path: Path) -> OpsFile:
    """Runs a file, once, and adds its ``OPS`` (name → builder, as in :mod:`nas.blocks`) to the registry.

    Returns:
        what a run remembers of it.

    Raises:
        UsageError: it cannot be read, fails, or has no such table.
    """
    try:
        place, digest = path.resolve(), hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--ops {path}: {error.strerror or error}") from None
    file, operations = _registered.get(place, (None, {}))
    if file is None or file.sha256 != digest:
        file, operations = OpsFile(str(place), digest), _run(path)
        own = {name for _, others in _registered.values() for name in others}
        if taken := [name for name in operations if name in OPS and name not in own]:
            raise UsageError(f"--ops {path}: {taken[0]} is already an operation; choose another name")
        _registered[place] = file, operations
    OPS.update(operations)
    return file


def _run(path: Path) -> Operations:
    """The file's table of operations."""
    try:
        operations = runpy.run_path(str(path)).get("OPS")
    except Exception as error:
        raise UsageError(f"--ops {path}: it fails: {type(error).__name__}: {error}") from error
    if not isinstance(operations, dict) or not operations or not all(map(callable, operations.values())):
        raise UsageError(f"--ops {path}: it must define OPS = {{name: builder}}, builder(channels, stride, affine)")
    return operations


def check(recorded: OpsFile | None, given: OpsFile | None) -> None:
    """A run that used a file of operations goes on only with the same file.

    Raises:
        UsageError: it is not named, or has changed.
    """
    if recorded and not given:
        raise UsageError(f"this run uses operations of its user's: name the file again, --ops {recorded.path}")
    if recorded and given and recorded.sha256 != given.sha256:
        raise UsageError(f"--ops {given.path}: it is not the file this run was begun with")
