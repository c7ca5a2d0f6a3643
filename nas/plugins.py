"""Users' own operations: the only code that is ever loaded, and only from a file named by ``--ops`` or trusted."""

import hashlib
import os
import re
import runpy
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nas.blocks import OPS
from nas.errors import Interrupted, UsageError
from nas.files import read_text
from nas.run.spec import OpsFile

Operations = dict[str, Callable[..., Any]]
Made = TypeVar("Made")
_registered: dict[Path, tuple[OpsFile, Operations]] = {}


def files() -> list[Path]:
    """The files registered so far, in order, for another process to register."""
    return list(_registered)


def register(path: Path) -> OpsFile:
    """Runs a file, once, and adds its ``OPS`` (name → builder, as in :mod:`nas.blocks`) to the registry.

    Returns:
        what a run remembers of it.

    Raises:
        UsageError: it cannot be read, fails, has no such table, or an operation of it is none.
    """
    place, digest = path.resolve(), digest_of(path)
    file, operations = _registered.get(place, (None, {}))
    if file is None or file.sha256 != digest:
        file, operations = OpsFile(str(place), digest), _run(path)
        own = {name for _, others in _registered.values() for name in others}
        if taken := [name for name in operations if name in OPS and name not in own]:
            raise UsageError(f"--ops {path}: {taken[0]} is already an operation; choose another name")
        for name, build in operations.items():
            _check(build, f"--ops {path}: {name}")
        _registered[place] = file, operations
    OPS.update(operations)
    return file


def _run(path: Path) -> Operations:
    """The file's table of operations."""
    operations = _safely(partial(runpy.run_path, str(path)), f"--ops {path}: it fails").get("OPS")
    if not isinstance(operations, dict) or not operations or not all(map(callable, operations.values())):
        raise UsageError(f"--ops {path}: it must define OPS = {{name: builder}}, builder(channels, stride, affine)")
    if odd := [name for name in operations if not isinstance(name, str) or not re.fullmatch(r"[\w.-]+", name)]:
        raise UsageError(f"--ops {path}: {odd[0]!r} is no operation's name: letters, digits and _ . - alone")
    return operations


def _check(build: Callable[..., Any], where: str) -> None:
    """Builds an operation, as the supernet and as a found network do, at either stride, and runs it once."""
    images = torch.zeros(2, 16, 8, 8)
    for stride, affine in product((1, 2), (False, True)):
        at = f"at stride {stride}"
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            module = _safely(partial(build, 16, stride, affine), f"{where} cannot be built {at}")
            if not isinstance(module, nn.Module):
                raise UsageError(f"{where}: {type(module).__name__} is built {at}, which is no torch.nn.Module")
            out = _safely(partial(module, images), f"{where} fails {at}")
        made = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
        if made != (wanted := (2, 16, 8 // stride, 8 // stride)):
            raise UsageError(f"{where} makes {made} of {tuple(images.shape)} {at}, not {wanted}")


def _safely(make: Callable[[], Made], where: str) -> Made:
    """What a user's code makes; whatever it raises, an exit or Ctrl-C of its own included, is the user's mistake."""
    try:
        return make()
    except Interrupted:
        raise
    except BaseException as error:
        raise UsageError(f"{where}: {type(error).__name__}: {error}".rstrip(": ")) from error


def place_of(recorded: OpsFile) -> Path:
    """Where a run's operations are: in the registered file that is the same, else where they were."""
    same = [place for place, (file, _) in _registered.items() if file.sha256 == recorded.sha256]
    return same[0] if same else Path(recorded.path)


def allow(recorded: OpsFile | None, given: Path | None) -> OpsFile | None:
    """Registers the operations that a run was begun with: of the file named, or of the recorded one, if it is trusted.

    Args:
        recorded: None: the run has none, or there is no run.
        given: ``--ops``; None: not given.

    Returns:
        the file, if there is one.

    Raises:
        UsageError: the run's file is neither named nor trusted, or has changed.
    """
    if recorded and not given:
        given = place_of(recorded)
        if given not in _registered and recorded.sha256 not in trusted():
            raise UsageError(
                f"this run uses operations of its user's: name their file, --ops {given}, "
                f"or trust it: put its SHA-256, {recorded.sha256}, on a line of {trust_list()}"
            )
    if given is None:
        return None
    if recorded and digest_of(given) != recorded.sha256:
        raise UsageError(f"--ops {given}: it is not the file this run was begun with")
    return register(given)


def trust_list() -> Path:
    """The user's own list of trusted files: ``NAS_TRUSTED``, else ``nas/trusted`` among the user's settings."""
    settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(os.environ.get("NAS_TRUSTED") or f"{settings}/nas/trusted").expanduser()


def trusted() -> set[str]:
    """The SHA-256 of files that run unasked: the first words of the list's lines, as ``sha256sum`` writes them."""
    path = trust_list()
    return {line.split()[0] for line in read_text(path).splitlines() if line.strip()} if path.is_file() else set()


def digest_of(path: Path) -> str:
    """The SHA-256 of a file of operations.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"--ops {path}: {error.strerror or error}") from None
