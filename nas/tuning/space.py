"""What is tuned: a family of macro networks, or one genotype at many sizes, as architectures of their knobs' values."""

from collections.abc import Iterator, Sequence
from dataclasses import field
from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, Field, PlainSerializer, PlainValidator
from pydantic.dataclasses import dataclass

from nas.architecture import Architecture, from_json, of_network
from nas.errors import UsageError, nearest
from nas.knobs import RESOLUTION, Knob, Level, Value, Values, numbers
from nas.run.documents import DOCUMENT

Shape = tuple[int, int, int]
WIDTH = numbers("width", 0.1, 2.0, 0.01)
STAGES, MOST_STEPS = 11, 4
"""Stages that a family may have; by how many steps a single one may be widened."""
OPERATION_KNOBS: dict[str, tuple[Level, ...]] = {
    "t": numbers("t", 1.0, 6.0, 0.5).values,
    "r": numbers("r", 0.0, 3.0, 0.5).values,
    "identity": ("1", "1/2", "1/3", "1/6"),
}
"""What may be tuned of an operation that has such a setting, and how far."""


def _read(given: object) -> Architecture:
    return given if isinstance(given, Architecture) else from_json(given)


Network = Annotated[Architecture, PlainValidator(_read), PlainSerializer(Architecture.document)]


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class FamilySpace:
    """A family of macro networks.

    Args:
        network: the family.
        settings: what stays.
        knobs: what is drawn; "resolution" is the share of the images' side.
        filler: the knob that fills a budget.
    """

    kind: Literal["macro"] = "macro"
    name: str
    network: str
    settings: dict[str, Value]
    knobs: tuple[Knob, ...]
    filler: Knob
    slack: ClassVar[float] = 0.2
    """By which share cost may fall while the filler grows; 0: more always costs more."""

    def architecture(self, values: Values, image: Shape, classes: int) -> Architecture:
        """The network at these values for images (channels, height, width).

        Raises:
            UsageError: values that exclude each other.
        """
        settings = {**self.settings, **values}
        share = settings.pop(RESOLUTION, 1)
        if not isinstance(share, int | float) or not 0 < share <= 1:
            raise UsageError(
                f"{self.name}: resolution = {share!r}: it is a share of the images' side, above 0, at most 1"
            )
        channels, height, width = image
        scaled = (channels, round(height * share), round(width * share))
        return of_network(self.network, settings, input=scaled, classes=classes)

    def wider(self, values: Values) -> dict[int, Values]:
        """By stage, the values with that stage alone made wider by the family's rounding divisor."""
        given = values.get("steps", [])
        assert isinstance(given, list)
        steps = given + [0] * (STAGES - len(given))
        wider = {stage: [*steps[:stage], steps[stage] + 1, *steps[stage + 1 :]] for stage in range(STAGES)}
        return {stage: {**values, "steps": more} for stage, more in wider.items() if max(more) <= MOST_STEPS}


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class GenotypeSpace:
    """One genotype: its wiring stays; channels fill the budget; cells and its operations' own settings are drawn.

    Args:
        base: the network at its own size.
        settings: knobs that stay at a value of the user's.
        knobs, filler: see :class:`FamilySpace`; ``sandglass_3x3.t`` is the setting t of that operation.
    """

    kind: Literal["cell"] = "cell"
    name: str
    base: Network = Field(validation_alias=AliasChoices("base", "found"))
    settings: dict[str, Value]
    knobs: tuple[Knob, ...]
    filler: Knob
    slack: ClassVar[float] = 0.0

    def architecture(self, values: Values, image: Shape, classes: int) -> Architecture:
        """See :class:`FamilySpace`."""
        settings = {**self.settings, **values}
        genotype = self.base.body["genotype"]
        ops = {name: dict(own) for name, own in genotype["ops"].items()}
        sizes = {}
        for name, value in settings.items():
            operation, dot, setting = name.partition(".")
            if dot:
                ops[operation][setting] = value
            else:
                sizes[name] = value
        network = self.base.changed(genotype={**genotype, "ops": ops}, **sizes)
        return from_json(network.fitted(image, classes).document(), self.name)

    def wider(self, values: Values) -> dict[int, Values]:
        """See :class:`FamilySpace`: cells have no widths of their own."""
        return {}


Space = Annotated[FamilySpace | GenotypeSpace, Field(discriminator="kind")]


@dataclass(frozen=True)
class Restriction:
    """What the user leaves free.

    Args:
        fixed: ``--set``: knobs and settings that stay at a value.
        only: ``--tune``: the knobs that stay free; none: all of the space's.
        fill: whether the filler is solved for instead of drawn.
    """

    fixed: dict[str, Value] = field(default_factory=dict)
    only: Sequence[str] = ()
    fill: bool = True

    def free(self, knobs: Sequence[Knob], filler: Knob, where: str) -> tuple[Knob, ...]:
        """The knobs to draw.

        Raises:
            UsageError: an unknown knob, one both fixed and free, or the filler fixed or alone while it is solved for.
        """
        known = [knob.name for knob in (*knobs, filler)]
        for name in self.only:
            if name not in known:
                raise UsageError(f"--tune {name}: {where} has no such knob: {nearest(name, known)}")
            if name in self.fixed:
                raise UsageError(f"--tune {name}: --set fixes it")
        if self.fill and filler.name in (*self.fixed, *self.only):
            option = "--set" if filler.name in self.fixed else "--tune"
            raise UsageError(f"{option} {filler.name}: it fills the budget: draw or fix it with --mode cap")
        eligible = knobs if self.fill else (filler, *knobs)
        return tuple(knob for knob in eligible if knob.name not in self.fixed and knob.name in (self.only or known))


def family_space(
    name: str, network: str, settings: Values, knobs: Sequence[Knob], restriction: Restriction
) -> FamilySpace:
    """The space of a family whose macro space has these settings and knobs.

    Raises:
        UsageError: see :meth:`Restriction.free`, or a fixed value that the network does not take.
    """
    filler = next((knob for knob in knobs if knob.name == WIDTH.name), WIDTH)
    free = restriction.free([knob for knob in knobs if knob is not filler], filler, name)
    space = FamilySpace(
        name=name, network=network, settings={**settings, **restriction.fixed}, knobs=free, filler=filler
    )
    space.architecture({}, (3, 32, 32), 10)
    return space


def genotype_space(name: str, network: Architecture, restriction: Restriction) -> GenotypeSpace:
    """The space of a searched cell: channels from 2 to four times its own, half to twice its cells.

    Raises:
        UsageError: a macro network; see :meth:`Restriction.free`; a fixed value that the cell does not take.
    """
    if network.kind != "cell":
        raise UsageError(f"--genotype {name}: that is a macro network; tune its space with --space")
    cells = network.body["cells"]
    knobs = [numbers("cells", max(3, cells // 2), 2 * cells, 1), *_operation_knobs(network)]
    known = [knob.name for knob in knobs]
    for key in restriction.fixed:
        if key not in (*known, "channels"):
            raise UsageError(f"--set {key}: {name} has no such knob: {nearest(key, known)}")
    filler = numbers("channels", 2, max(64, 4 * network.body["channels"]), 1)
    free, base = restriction.free(knobs, filler, name), network.changed(auxiliary=False)
    space = GenotypeSpace(name=name, base=base, settings=restriction.fixed, knobs=free, filler=filler)
    space.architecture({}, network.input, network.classes)
    return space


def _operation_knobs(network: Architecture) -> Iterator[Knob]:
    for operation, settings in network.body["genotype"]["ops"].items():
        for name in settings:
            if name in OPERATION_KNOBS:
                yield Knob(f"{operation}.{name}", OPERATION_KNOBS[name], ordered=name != "identity")
