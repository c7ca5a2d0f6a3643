"""What is tuned: a macro space, or the found cell of a run. It turns values of its knobs into an architecture."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from typing import Any

from nas.architecture import Architecture, from_json, of_network
from nas.errors import UsageError, nearest
from nas.macro.space import RESOLUTION, MacroSpace

Shape = tuple[int, int, int]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Knob:
    """A setting and all its values, in order where they are numbers of equal steps."""

    name: str
    values: tuple[Any, ...]
    ordered: bool = False


def numbers(name: str, low: float, high: float, step: float) -> Knob:
    """A knob of equal steps; exact, so that 0.1 and a hundred steps of 0.01 are 1.1."""
    first, size = Fraction(str(low)), Fraction(str(step))
    count = int((Fraction(str(high)) - first) / size) + 1
    whole = isinstance(low, int) and isinstance(step, int)
    values = [first + index * size for index in range(count)]
    return Knob(name, tuple(int(value) if whole else float(value) for value in values), ordered=True)


class Subject(ABC):
    """What is tuned.

    ``name`` in tables; ``knobs`` are drawn; ``filler`` is the knob that fills a budget (width, channels).
    """

    name: str
    knobs: tuple[Knob, ...]
    filler: Knob
    slack: float
    """By which share cost may fall while the filler grows; 0: more always costs more."""

    @abstractmethod
    def architecture(self, values: Values, image: Shape, classes: int) -> Architecture:
        """The network at these values for images of that shape.

        Raises:
            UsageError: values that exclude each other.
        """

    @abstractmethod
    def raised(self, values: Values) -> dict[int, dict[str, Any]]:
        """By stage, the values with that stage alone made wider by its smallest step."""

    @abstractmethod
    def document(self) -> dict[str, Any]:
        """As JSON data; :func:`from_document` reads it back."""


@dataclass(frozen=True)
class MacroSubject(Subject):
    """A macro space: its file's knobs, less those that were fixed.

    Args:
        name: the space's.
        network: the family.
        settings: what stays.
        knobs, filler: see :class:`Subject`; a knob "resolution" is the share of the images' side.
    """

    name: str
    network: str
    settings: Mapping[str, Any]
    knobs: tuple[Knob, ...]
    filler: Knob
    slack = 0.2

    def architecture(self, values: Values, image: Shape, classes: int) -> Architecture:
        """See :class:`Subject`."""
        settings = {**self.settings, **values}
        share = settings.pop(RESOLUTION, 1)
        channels, height, width = image
        scaled = (channels, round(height * share), round(width * share))
        return of_network(self.network, settings, input=scaled, classes=classes)

    def raised(self, values: Values) -> dict[int, dict[str, Any]]:
        """See :class:`Subject`; a step is the family's rounding divisor."""
        steps = list(values.get("steps", ()))
        steps += [0] * (STAGES - len(steps))
        wider = {stage: [*steps[:stage], steps[stage] + 1, *steps[stage + 1 :]] for stage in range(STAGES)}
        return {stage: {**values, "steps": more} for stage, more in wider.items() if max(more) <= MOST_STEPS}

    def document(self) -> dict[str, Any]:
        """See :class:`Subject`."""
        return {"kind": "macro", **asdict(self)}


STAGES, MOST_STEPS = 11, 4
"""Stages that a family may have; by how many steps a single one may be widened."""


@dataclass(frozen=True)
class CellSubject(Subject):
    """A found cell: its wiring stays; channels fill the budget; cells and its blocks' own settings are drawn.

    Args:
        name: the run's.
        found: the network as it was found.
        settings: knobs that stay at a value of the user's.
        knobs, filler: see :class:`Subject`; ``sandglass_3x3.t`` is the setting t of that operation.
    """

    name: str
    found: Architecture
    settings: Mapping[str, Any]
    knobs: tuple[Knob, ...]
    filler: Knob
    slack = 0.0

    def architecture(self, values: Values, image: Shape, classes: int) -> Architecture:
        """See :class:`Subject`."""
        settings = {**self.settings, **values}
        sizes = {name: value for name, value in settings.items() if "." not in name}
        genotype = self.found.body["genotype"]
        ops = {name: dict(own) for name, own in genotype["ops"].items()}
        for name, value in settings.items():
            if "." in name:
                operation, _, setting = name.partition(".")
                ops[operation][setting] = value
        changed = self.found.changed(genotype={**genotype, "ops": ops}, **sizes)
        return from_json(changed.fitted(image, classes).document(), self.name)

    def raised(self, values: Values) -> dict[int, dict[str, Any]]:
        """See :class:`Subject`: a found cell has no stage of its own width."""
        return {}

    def document(self) -> dict[str, Any]:
        """See :class:`Subject`."""
        return {"kind": "cell", **asdict(replace(self, found=None)), "found": self.found.document()}  # type: ignore[arg-type]


def from_document(document: Mapping[str, Any]) -> Subject:
    """The subject that a run's settings.json holds."""
    values = {**document, "knobs": tuple(_knob(knob) for knob in document["knobs"])}
    values["filler"] = _knob(document["filler"])
    if values.pop("kind") == "macro":
        return MacroSubject(**values)
    return CellSubject(**{**values, "found": from_json(document["found"])})


def _knob(document: Mapping[str, Any]) -> Knob:
    return Knob(document["name"], tuple(document["values"]), document["ordered"])


@dataclass(frozen=True)
class Freedom:
    """What the user leaves free.

    Args:
        fixed: ``--set``: knobs and settings that stay at a value.
        only: ``--tune``: the knobs that stay free; none: all of the space's.
        filling: whether the filler is solved for instead of drawn.
    """

    fixed: Mapping[str, Any] = field(default_factory=dict)
    only: Sequence[str] = ()
    filling: bool = True

    def divide(self, knobs: Sequence[Knob], filler: Knob, where: str) -> tuple[tuple[Knob, ...], Knob]:
        """(the knobs to draw, the filler).

        Raises:
            UsageError: an unknown knob, one both fixed and free, or the filler fixed or alone while it is solved for.
        """
        known = [knob.name for knob in (*knobs, filler)]
        for name in self.only:
            if name not in known:
                raise UsageError(f"--tune {name}: {where} has no such knob: {nearest(name, known)}")
            if name in self.fixed:
                raise UsageError(f"--tune {name}: --set fixes it")
        if self.filling and filler.name in (*self.fixed, *self.only):
            raise UsageError(f"{filler.name} is what fills the budget: draw or fix it with --mode cap")
        drawn = [*knobs] if self.filling else [filler, *knobs]
        free = tuple(knob for knob in drawn if knob.name not in self.fixed and knob.name in (self.only or known))
        return free, filler


WIDTH = numbers("width", 0.1, 2.0, 0.01)


def of_space(space: MacroSpace, freedom: Freedom) -> MacroSubject:
    """A macro space as a subject.

    Raises:
        UsageError: see :meth:`Freedom.divide`, or a fixed value that the network does not take.
    """
    every = [_drawn(name, drawn) for name, drawn in space.search.items()]
    filler = next((knob for knob in every if knob.name == "width"), WIDTH)
    knobs, filler = freedom.divide([knob for knob in every if knob.name != "width"], filler, space.name)
    subject = MacroSubject(space.name, space.network, {**space.settings, **freedom.fixed}, knobs, filler)
    subject.architecture({}, (3, 32, 32), 10)
    return subject


def _drawn(name: str, drawn: Any) -> Knob:
    return Knob(name, tuple(drawn)) if isinstance(drawn, list) else numbers(name, **drawn)


CELL_KNOBS = {
    "t": numbers("t", 1.0, 6.0, 0.5).values,
    "r": numbers("r", 0.0, 3.0, 0.5).values,
    "identity": ("1", "1/2", "1/3", "1/6"),
}
"""What may be tuned of an operation that has such a setting, and how far."""


def of_cell(name: str, found: Architecture, freedom: Freedom) -> CellSubject:
    """A found cell as a subject: channels from 2 to four times its own, half to twice its cells.

    Raises:
        UsageError: a macro network; see :meth:`Freedom.divide`; a fixed value that the cell does not take.
    """
    if found.kind != "cell":
        raise UsageError(f"--genotype {name}: that is a macro network; tune its space with --space")
    cells = found.body["cells"]
    every = [numbers("cells", max(3, cells // 2), 2 * cells, 1), *_own(found.body["genotype"]["ops"])]
    known = [knob.name for knob in every]
    for key in freedom.fixed:
        if key not in (*known, "channels"):
            raise UsageError(f"--set {key}: {name} has no such knob: {nearest(key, known)}")
    knobs, filler = freedom.divide(every, numbers("channels", 2, max(64, 4 * found.body["channels"]), 1), name)
    subject = CellSubject(name, found.changed(auxiliary=False), dict(freedom.fixed), knobs, filler)
    subject.architecture({}, found.input, found.classes)
    return subject


def _own(operations: Mapping[str, Mapping[str, Any]]) -> Iterable[Knob]:
    for operation, settings in operations.items():
        for name in settings:
            if name in CELL_KNOBS:
                yield Knob(f"{operation}.{name}", CELL_KNOBS[name], ordered=name != "identity")
