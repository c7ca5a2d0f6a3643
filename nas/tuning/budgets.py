"""Budgets of multiply-adds: what fits one, and how a network is brought up to it."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import product

from nas.amounts import short
from nas.architecture import Architecture
from nas.errors import UsageError
from nas.knobs import Knob, Level, Values
from nas.tuning.space import FamilySpace, GenotypeSpace, Shape

GAP = 0.03
"""A network further than this share below its budget does not fill it."""
THIN = 5
"""So many values of each knob are looked at for what can be reached at all."""


class Rejection(Exception):
    """A draw that is not trained.

    Args:
        reason: by which such draws are counted.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Point:
    """Values of a space's knobs, and what counts against a budget there."""

    values: Values
    madds: int

    def gap(self, budget: int) -> float:
        """Share of the budget that is not used."""
        return 1 - self.madds / budget


@dataclass
class Budgets:
    """Brings draws of one space up to budgets; keeps what it has counted.

    Args:
        space: what is tuned.
        image: (channels, height, width) of a training image.
        classes: the data's.
        resolution: side at which budgets count; None: the training image's.
        fill: whether the space's filler is solved for, or drawn and budgets only cap.
    """

    space: FamilySpace | GenotypeSpace
    image: Shape
    classes: int
    resolution: int | None = None
    fill: bool = True
    _counts: dict[tuple[tuple[str, str], ...], int] = field(default_factory=dict)

    def architecture(self, values: Values) -> Architecture:
        """The network to train."""
        return self.space.architecture(values, self.image, self.classes)

    def point(self, values: Values) -> Point:
        """The values with their cost.

        Raises:
            UsageError: they exclude each other.
        """
        key = tuple(sorted((name, str(value)) for name, value in values.items()))
        if key not in self._counts:
            side = self.resolution
            image = (self.image[0], side, side) if side else self.image
            self._counts[key] = self.space.architecture(values, image, self.classes).madds()
        return Point(values, self._counts[key])

    def fit(self, values: Values, budget: int) -> Point:
        """The draw as it is trained.

        Raises:
            Rejection: it cannot be built, is above the budget, or cannot fill it.
        """
        try:
            point = self._widen(self._widest(values, budget), budget) if self.fill else self.point(values)
        except UsageError as error:
            raise Rejection(str(error).partition(" (")[0]) from None
        if point.madds > budget:
            raise Rejection("above the budget")
        if self.fill and point.gap(budget) > GAP:
            raise Rejection("not within 3 % of the budget")
        return point

    def _widest(self, values: Values, budget: int) -> Point:
        """The costliest level of the filler that fits.

        Cost falls here and there as width grows, by less than ``slack``: so all levels that near the budget are looked
        at, those further off are not.
        """
        name, levels, slack = self.space.filler.name, self.space.filler.values, self.space.slack

        def at(level: Level) -> Point:
            return self.point({**values, name: level})

        def place(madds: float) -> int:
            return bisect_right(levels, madds, key=lambda level: at(level).madds)

        near = levels[max(0, place(budget * (1 - slack)) - 1) : place(budget * (1 + slack)) + 1]
        within = [point for point in map(at, near) if point.madds <= budget]
        if not within:
            raise Rejection(f"above the budget at the smallest {name}")
        return max(within, key=lambda point: point.madds)

    def _widen(self, point: Point, budget: int) -> Point:
        """Single stages made wider, the costliest that fits first; what did not fit is not tried again."""
        stages = set(self.space.wider(point.values))
        while True:
            wider = self.space.wider(point.values)
            points = {stage: self.point(wider[stage]) for stage in sorted(stages & set(wider))}
            fits = {stage: each for stage, each in points.items() if point.madds < each.madds <= budget}
            if not fits:
                return point
            stages, point = set(fits), max(fits.values(), key=lambda each: each.madds)

    def check(self, budget: int) -> None:
        """Raises UsageError, with what can be reached, where no draw fits the budget or none fills it."""
        if self.fill and any(self._fits(values, budget) for values in self._grid()):
            return
        low, high = self._reach()
        if self.fill or budget < low:
            fails = "fills it to 3 %" if self.fill else "fits it"
            raise UsageError(
                f"--budget {short(budget)}: no setting of {self.space.name} {fails}; "
                f"it reaches {short(low)} to {short(high)} multiply-adds"
            )

    def _fits(self, values: Values, budget: int) -> bool:
        try:
            self.fit(values, budget)
        except Rejection:
            return False
        return True

    def _reach(self) -> tuple[int, int]:
        """The least and the most that can be reached."""
        filler = self.space.filler
        ends: list[Values] = [{filler.name: filler.values[0]}, {filler.name: filler.values[-1]}] if self.fill else [{}]
        costs = [cost for values in self._grid() for end in ends if (cost := self._cost({**values, **end}))]
        return min(costs), max(costs)

    def _cost(self, values: Values) -> int | None:
        """What values cost; None where they exclude each other."""
        try:
            return self.point(values).madds
        except UsageError:
            return None

    def _grid(self) -> Iterator[Values]:
        """Evenly spread draws, the middle ones first."""
        names = [knob.name for knob in self.space.knobs]
        for values in product(*(_thin(knob.values) for knob in self.space.knobs)):
            yield dict(zip(names, values, strict=True))

    def architectures(self, limits: Sequence[int]) -> Iterator[Architecture]:
        """All networks that can be drawn under these budgets; without one, all of the space's."""
        names = [knob.name for knob in self.space.knobs]
        for levels in product(*(knob.values for knob in self.space.knobs)):
            values: Values = dict(zip(names, levels, strict=True))
            for limit in limits or [0]:
                with suppress(Rejection, UsageError):
                    yield self.architecture(self.fit(values, limit).values if limits else values)

    def has_free_knob(self) -> bool:
        """Whether some knob turns multiply-adds by less than 1 % between its ends, other things equal."""
        knobs = (self.space.filler, *self.space.knobs)
        middle = {knob.name: knob.values[len(knob.values) // 2] for knob in knobs}
        return any(self._is_free(knob, middle) for knob in self.space.knobs if len(knob.values) > 1)

    def _is_free(self, knob: Knob, middle: Values) -> bool:
        low, high = (self._cost({**middle, knob.name: end}) for end in (knob.values[0], knob.values[-1]))
        return low is not None and high is not None and max(low, high) < 1.01 * min(low, high)


def _thin(values: Sequence[Level]) -> list[Level]:
    """At most ``THIN`` of the values, evenly spread, the middle ones first."""
    count = min(len(values), THIN)
    spread = [values[round(index * (len(values) - 1) / max(1, count - 1))] for index in range(count)]
    middle = (count - 1) / 2
    return [spread[index] for index in sorted(range(count), key=lambda index: abs(index - middle))]
