"""Pages of docs/ that are made of the code: run this file to write them anew."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import tomli_w

from nas.presets import SEARCH_PRESETS, TRAIN_PRESETS, resolve, resolve_search
from nas.settings import TrainSettings
from nas.space import shipped

DOCS = Path(__file__).parents[1] / "docs"


def spaces() -> str:
    """Every shipped space's file."""
    files = [
        f"## {path.stem}\n\n```toml\n{path.read_text().rstrip()}\n```\n" for path in sorted(shipped().glob("*.toml"))
    ]
    head = "# Spaces\n\nEvery shipped space, as its file is; yours is such a file too: `--space path/to/mine.toml`.\n"
    return "\n".join([head, *files])


def presets() -> str:
    """Every preset's settings: of ``paper`` all, of the others what differs."""
    parts = [
        "# Presets\n\nSettings of `--preset`, as `--settings FILE.toml` takes them: of `paper` all, of the others what "
        "differs from it.\nAn empty text or an absent field is one that is not set.\n"
    ]
    for command, known in (
        ("search", {name: asdict(resolve_search(name)) for name in SEARCH_PRESETS}),
        ("retrain", {name: asdict(resolve(TrainSettings, TRAIN_PRESETS, name)) for name in TRAIN_PRESETS}),
    ):
        for name in sorted(known, key=lambda one: one != "paper"):
            own = known[name] if name == "paper" else different(known[name], known["paper"])
            plain = {key: value for key, value in own.items() if value is not None}
            parts.append(f"## nas {command} --preset {name}\n\n```toml\n{tomli_w.dumps(plain)}```\n")
    return "\n".join(parts)


def different(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """What of the first is not as in the second."""
    return {name: value for name, value in one.items() if value != other[name]}


PAGES = {"spaces.md": spaces, "presets.md": presets}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
