"""One JSON document for a network from either branch, and the module it stands for.

It is all that retraining, evaluation, cost counting and export read.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.bounds import MOST_CELLS, MOST_CHANNELS, MOST_CLASSES, MOST_OPERATIONS, MOST_SIDE
from nas.cells.found import found_network
from nas.cells.genotype import Genotype, from_document, read
from nas.cells.network import CellNetwork
from nas.costs.count import count
from nas.errors import UsageError
from nas.files import parse_json, read_text
from nas.macro import networks
from nas.macro.madds import madds
from nas.macro.parts import Part, parts
from nas.presets import final_size
from nas.run import names
from nas.run.documents import as_json, parse
from nas.run.spec import Origin
from nas.skeleton import SKELETONS
from nas.space import complete

FORMAT = "nas/architecture/1"
COMMON = ("format", "kind", "input", "classes", "stem")
BODY = {"cell": ("genotype", "channels", "cells", "auxiliary"), "macro": ("network", "settings", "rows", "norm")}


@dataclass(frozen=True)
class Architecture:
    """A network.

    Args:
        kind: "cell" or "macro".
        input: (channels, height, width) of one image.
        classes: number of logits.
        stem: "cifar" or "imagenet".
        body: a cell's genotype, channels, cells, auxiliary; a macro network's name, settings, stage rows
            and batch norm.
        origin: what its next training goes on with; None: not known.
    """

    kind: str
    input: tuple[int, int, int]
    classes: int
    stem: str
    body: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if self.kind == "cell":
            SKELETONS[self.body["genotype"].get("skeleton", "darts")].check(self.body["cells"])

    def document(self) -> dict[str, Any]:
        """The JSON document ``nas/architecture/1``."""
        head = {"format": FORMAT, "kind": self.kind, "input": list(self.input), "classes": self.classes}
        origin = {"origin": as_json(self.origin)} if self.origin else {}
        return {**head, "stem": self.stem, **self.body, **origin}

    @property
    def genotype(self) -> Genotype | None:
        """The found cell, if this network has one."""
        return from_document(self.body["genotype"]) if self.kind == "cell" else None

    def changed(self, **body: Any) -> "Architecture":
        """A copy with some of the body's values changed; None changes nothing.

        Raises:
            UsageError: this kind has no such value.
        """
        changes = {key: value for key, value in body.items() if value is not None}
        if wrong := set(changes) - set(self.body):
            raise UsageError(f"--{sorted(wrong)[0]}: a {self.kind} architecture has no such size")
        return replace(self, body={**self.body, **changes})

    def fitted(self, input: tuple[int, int, int], classes: int) -> "Architecture":
        """The same network for other data, with the stem that goes with the size of the images (cifar up to 64)."""
        if self.kind == "macro":
            fitted = from_json(networks.refit(self.document(), input=input, classes=classes))
            return replace(fitted, origin=self.origin)
        return replace(self, input=input, classes=classes, stem=networks.usual_stem(input))

    def madds(self) -> int:
        """Multiply-adds of one image, as ``nas.costs`` counts; of a macro network by formula, unbuilt."""
        if self.kind == "macro":
            return madds(self.body["rows"], self.input, self.classes)
        return count(self.build_meta(), self.input).madds

    def parts(self) -> list[Part]:
        """The operations, each with its input, as tables of latencies have them.

        Raises:
            UsageError: a cell: no table has its operations.
        """
        if self.kind == "cell":
            raise UsageError("tables of latencies are of macro networks: a found cell's operations are not in them")
        return list(parts(self.body["rows"], self.input, self.classes))

    def build(self) -> nn.Module:
        """The module: images (N, *input) → logits (N, classes); in training with an auxiliary head also its logits."""
        if self.kind == "macro":
            return networks.from_document(self.document())
        genotype = self.genotype
        assert genotype is not None
        return found_network(
            genotype,
            channels=self.body["channels"],
            cells=self.body["cells"],
            classes=self.classes,
            stem=self.stem,
            auxiliary=self.body["auxiliary"],
        )

    def build_meta(self) -> nn.Module:
        """The module without its weights, for counting."""
        with torch.device("meta"):
            return self.build()


def stages(network: nn.Module) -> list[nn.Module]:
    """A network's parts from the image on: its stages, or its cells, the first with the stem."""
    if isinstance(network, CellNetwork):
        first, *rest = network.cells
        return [nn.ModuleList([network.stem, first]), *rest]
    return list(network.get_submodule("stages").children())


def of_network(network: str, settings: Mapping[str, Any], *, input: tuple[int, int, int], classes: int) -> Architecture:
    """A macro network at these settings, with the stem that goes with the size of the images.

    Raises:
        UsageError: an unknown network or setting, a value out of range.
    """
    document = networks.document(network, settings, input=input, classes=classes, stem=networks.usual_stem(input))
    body = {key: document[key] for key in BODY["macro"]}
    return Architecture("macro", input, classes, document["stem"], body)


def of_genotype(
    genotype: Genotype,
    *,
    channels: int | None = None,
    cells: int | None = None,
    input: tuple[int, int, int] = (3, 32, 32),
    classes: int = 10,
    auxiliary: bool = False,
    stem: str = "cifar",
) -> Architecture:
    """A found cell as a network; the defaults are those of its space's paper for CIFAR-10."""
    genotype, usual = check_operations(genotype), final_size("paper", genotype.skeleton)
    sizes = {"channels": channels or usual[0], "cells": cells or usual[1]}
    body = {"genotype": genotype.document(), **sizes, "auxiliary": auxiliary}
    return Architecture("cell", input, classes, stem, body)


def check_operations(genotype: Genotype, where: str = "genotype") -> Genotype:
    """The genotype with its operations' settings complete.

    Raises:
        UsageError: an unknown operation, or settings out of range.
    """
    ops = {name: complete(name, genotype.ops.get(name, {}), where) for name in genotype.operations}
    return replace(genotype, ops={name: settings for name, settings in ops.items() if settings})


def from_json(document: Any, where: str = "architecture", known: bool = True) -> Architecture:
    """Reads a JSON document.

    Args:
        known: whether its operations must be; one that is only looked at may have a user's own.

    Raises:
        UsageError: wrong format, a missing or unknown key, a value of the wrong type or out of range.
    """
    if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("kind") not in BODY:
        raise UsageError(f'{where}: not an architecture: "format" must be "{FORMAT}" and "kind" cell or macro')
    kind = document["kind"]
    if kind == "macro":
        document = {"norm": networks.earlier_norm(document.get("network", "")), **document}
    if wrong := (set(document) - {"origin"}) ^ {*COMMON, *BODY[kind]}:
        key = sorted(wrong)[0]
        raise UsageError(f'{where}: {"unknown" if key in document else "missing"} key "{key}"')
    shape = document["input"]
    if not isinstance(shape, list) or len(shape) != 3 or not all(_count(side, MOST_SIDE) for side in shape):
        raise UsageError(f'{where}: "input" must be three positive whole numbers up to {MOST_SIDE}, [3, 32, 32]')
    if not _count(document["classes"], MOST_CLASSES) or document["classes"] < 2:
        said = f"it must be a whole number from 2 to {MOST_CLASSES}"
        raise UsageError(f'{where}: "classes" = {document["classes"]!r}: {said}')
    if document["stem"] not in ("cifar", "imagenet"):
        raise UsageError(f'{where}: "stem" = {document["stem"]!r}: it must be cifar or imagenet')
    body = {key: document[key] for key in BODY[kind]}
    if kind == "cell":
        body = _cell_body(body, where, known)
    else:
        networks.check_document(body, where)
    origin = parse(json.dumps(document["origin"]), Origin, where) if "origin" in document else None
    return Architecture(kind, (shape[0], shape[1], shape[2]), document["classes"], document["stem"], body, origin)


def _cell_body(body: dict[str, Any], where: str, known: bool) -> dict[str, Any]:
    for key, most in (("channels", MOST_CHANNELS), ("cells", MOST_CELLS)):
        if not _count(body[key], most):
            raise UsageError(f'{where}: "{key}" = {body[key]!r}: it must be a whole number from 1 to {most}')
    if not isinstance(body["auxiliary"], bool):
        raise UsageError(f'{where}: "auxiliary" = {body["auxiliary"]!r}: it must be true or false')
    genotype = from_document(body["genotype"], where)
    if body["cells"] * len(genotype.edge_operations) > MOST_OPERATIONS:
        raise UsageError(f"{where}: a network has at most {MOST_OPERATIONS} operations")
    genotype = check_operations(genotype, where) if known else genotype
    return {**body, "genotype": genotype.document()}


def _count(value: Any, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= most


def read_architecture(path: Path, known: bool = True) -> Architecture:
    """The architecture in a file: architecture.json itself, or a genotype (as its CIFAR-10 paper network).

    Args:
        known: as of :func:`from_json`.

    Raises:
        UsageError: neither.
    """
    text = read_text(path)
    if f'"{FORMAT}"' in text or path.name == names.ARCHITECTURE:
        return from_json(parse_json(text, str(path)), str(path), known)
    return of_genotype(read(text, str(path)))
