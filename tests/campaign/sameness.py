"""What a run folder says, without times and places: what must be the same however often the run was killed."""

import json
from pathlib import Path
from typing import Any

import torch

from nas.run import names
from nas.train import checkpoint
from tests.conftest import digest

NO_MATTER = {"device_hours", "hardware", "source", "sha256", "code", "digest"}
"""Places, the digests of files that name places; the commit, which git may be slow to say. Nor do seconds matter."""
NOT_COMPARED = {
    names.WORKER,
    names.EVENTS,
    names.ENVIRONMENT,
    names.SETTINGS,
    names.CHECKPOINT,
    "study.db",
    "trials.csv",
}
"""Notes of what happened, SQLite's pages; checkpoints are compared by what they hold, trials by the results."""
PICTURES = {".png", ".svg", ".html", ".md", ".csv"}
"""Only that they are there: times stand in them."""


def contents(folder: Path) -> dict[str, Any]:
    """Each file below a run folder by its path, as what it says."""
    said: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.name == names.CHECKPOINT:
            said[str(place)] = _learnt(path)
        elif path.is_file() and not NOT_COMPARED & {*place.parts}:
            said[str(place)] = _said(path)
    return said


def difference(one: Any, other: Any, place: str = "") -> str:
    """The first difference, in words; nothing where there is none."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = [(name, one.get(name, "nothing"), other.get(name, "nothing")) for name in {**one, **other}]
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = [(number, *pair) for number, pair in enumerate(zip(one, other, strict=True))]
    else:
        return "" if one == other else f"{place}: {str(one)[:300]} and {str(other)[:300]}"
    return next(filter(None, (difference(*pair, f"{place} {name}") for name, *pair in pairs)), "")


def _said(path: Path) -> Any:
    if path.suffix in PICTURES:
        return "there"
    if path.suffix == ".json":
        return _plain(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_plain(json.loads(line)) for line in path.read_text().splitlines()]
    return digest(path)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items() if name not in NO_MATTER and "seconds" not in name}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _learnt(folder: Path) -> Any:
    state = checkpoint.load(folder)
    return state and _numbers(state.parts)


def _numbers(value: Any) -> Any:
    """Tensors as the bytes of their numbers."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.reshape(-1).view(torch.uint8).numpy().tobytes()
    if isinstance(value, dict):
        return {name: _numbers(each) for name, each in value.items()}
    return [_numbers(each) for each in value] if isinstance(value, list | tuple) else value
