"""Users' own operations: the only code that is ever loaded, and only from a file named by ``--ops``."""

import hashlib
import runpy
from pathlib import Path
from typing import Any

from nas.blocks import OPS
from nas.errors import UsageError

_registered: set[str] = set()
_files: dict[Path, None] = {}


def files() -> list[Path]:
    """The files registered so far, in order, for another process to register."""
    return list(_files)


def register(path: Path) -> dict[str, Any]:
    """Runs a file and adds its ``OPS`` (name → builder, as in :mod:`nas.blocks`) to the registry.

    Returns:
        {"path", "sha256"}: what a run remembers of it.

    Raises:
        UsageError: it cannot be read, fails, or has no such table.
    """
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        operations = runpy.run_path(str(path)).get("OPS")
    except OSError as error:
        raise UsageError(f"--ops {path}: {error.strerror or error}") from None
    except Exception as error:
        raise UsageError(f"--ops {path}: it fails: {type(error).__name__}: {error}") from error
    if not isinstance(operations, dict) or not operations or not all(map(callable, operations.values())):
        raise UsageError(f"--ops {path}: it must define OPS = {{name: builder}}, builder(channels, stride, affine)")
    if taken := [name for name in operations if name in OPS and name not in _registered]:
        raise UsageError(f"--ops {path}: {taken[0]} is already an operation; choose another name")
    OPS.update(operations)
    _registered.update(operations)
    _files[path.resolve()] = None
    return {"path": str(path.resolve()), "sha256": digest}


def check(remembered: dict[str, Any] | None, given: dict[str, Any] | None) -> None:
    """A run that used a file of operations goes on only with the same file.

    Raises:
        UsageError: it is not named, or has changed.
    """
    if remembered and not given:
        raise UsageError(f"this run uses operations of its user's: name the file again, --ops {remembered['path']}")
    if remembered and given and remembered["sha256"] != given["sha256"]:
        raise UsageError(f"--ops {given['path']}: it is not the file this run was begun with")
