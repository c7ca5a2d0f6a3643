"""Documents that a user hands over, with something in them changed: a value, a key, a byte, the end."""

import json
import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from random import Random
from typing import Any

import tomli_w

TUNE = "--budget 3M --data digits --preset quick"
DOCUMENTS: dict[str, Sequence[str]] = {
    "cell.txt": ("show cell.txt", "cost cell.txt", "retrain cell.txt --data digits --preset quick", "lookup cell.txt"),
    "genotype.json": ("show genotype.json --to dot", "cost genotype.json", "retrain genotype.json --data digits"),
    "cell.graphml": ("show cell.graphml --to json", "cost cell.graphml"),
    "cell.json": (
        "show cell.json",
        "cost cell.json --json",
        "retrain cell.json",
        "tune --genotype cell.json --budget 3M",
    ),
    "macro.json": ("cost macro.json", "retrain macro.json --data digits --preset quick", "show macro.json"),
    "space.toml": ("search --space space.toml --data digits --preset quick", "plan --space space.toml --data digits"),
    "my_sandglass.toml": ("search --space darts+my_sandglass.toml --data digits --preset quick",),
    "my_s1.toml": ("search --space my_s1.toml --data digits --preset quick",),
    "my_hbonet.toml": (
        "tune --space my_hbonet.toml --budget 3M --data digits --preset quick",
        "cost --space my_hbonet.toml",
    ),
    "study.toml": ("study study.toml", "study study.toml --dry-run", "plan study.toml"),
    "settings.toml": (
        "search --settings settings.toml --data digits --preset quick",
        "retrain cell.txt --settings settings.toml --data digits --preset quick",
    ),
    "table.csv": ("latency import table.csv", "cost macro.json --latency-table table.csv"),
}
"""A document, and command lines that read it."""
ODD: tuple[Any, ...] = (None, True, False, 0, -1, 1, 3, 10**30, -(2**63), 0.5, -0.0, 1e308, float("nan"), float("inf"))
ODD += ("", "x", "darts", "none", "[/x]", "a\nb", "\x00", "é", "y" * 3000, [], [[]], [1], ["x"], {}, {"x": 1}, {"t": 2})


def changed(path: Path, stream: Random) -> str | bytes:
    """A document's text with one to three changes."""
    text = path.read_text()
    ways: list[Callable[[str, Random], str | bytes]] = [cut, flipped, respelt]
    if path.suffix in (".json", ".toml"):
        ways += 7 * [restructured]
    for _ in range(stream.choice((1, 1, 1, 1, 2, 3))):
        made = stream.choice(ways)(text, stream)
        if isinstance(made, bytes):
            return made
        text = made
    return text


def cut(text: str, stream: Random) -> str:
    """Without its end, or a stretch."""
    first, last = sorted((stream.randrange(len(text) + 1), stream.randrange(len(text) + 1)))
    return text[:first] + (text[last:] if stream.random() < 0.5 else "")


def flipped(text: str, stream: Random) -> bytes:
    """A byte is another."""
    data = bytearray(text.encode(errors="replace") or b" ")
    data[stream.randrange(len(data))] = stream.randrange(256)
    return bytes(data)


def respelt(text: str, stream: Random) -> str:
    """A number or word is another."""
    words = (
        "-1",
        "0",
        "9" * 30,
        "1e999",
        "nan",
        '"',
        "[",
        "]" * 2000,
        "range(0, 3)",
        "range(300000000)",
        "\ufeff",
        "'x'",
    )
    place = stream.randrange(len(text) + 1)
    return text[:place] + stream.choice(words) + text[place + stream.randrange(4) :]


def restructured(text: str, stream: Random) -> str:
    """A value or a key of JSON or TOML is another, or gone."""
    is_json = text.lstrip()[:1] in "{["
    try:
        document = json.loads(text) if is_json else tomllib.loads(text)
    except ValueError:
        return text
    change(document, stream)
    if is_json:
        return json.dumps(document)
    try:
        return tomli_w.dumps(document)
    except (TypeError, ValueError):  # TOML has no null
        return text


def change(document: Any, stream: Random) -> None:
    """One change, at any depth."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk(document)
    if not places:
        return
    inside, key = stream.choice(places)
    what = stream.random()
    if what < 0.15:
        del inside[key]
    elif what < 0.25 and isinstance(inside, dict):
        inside[stream.choice(("x", "", "kind", "t", "seed"))] = inside.pop(key)
    elif what < 0.35:
        other, at = stream.choice(places)
        inside[key] = deepcopy(other[at])
    elif what < 0.6 and isinstance(inside[key], int | float):
        inside[key] += stream.choice((1, -1, 2, inside[key]))
    elif what < 0.4:
        inside[key] = [deepcopy(inside[key])] * stream.choice((2, 17, 300))
    else:
        inside[key] = deepcopy(stream.choice(ODD))
