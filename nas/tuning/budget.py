"""Budgets of multiply-adds: what fits one, and how a network is brought up to it."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from nas.architecture import Architecture
from nas.errors import UsageError
from nas.tuning.subject import Shape, Subject, Values

GAP = 0.03
"""A network further than this share below its budget does not fill it."""
THIN = 5
"""So many values of each knob are looked at for what can be reached at all."""
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def parse(text: str) -> int:
    """``20M``, ``1.5G``, ``800K`` or a plain number, in multiply-adds.

    Raises:
        UsageError: not of that form, or below 1.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)", text.strip(), re.IGNORECASE)
    if not found or not (value := round(float(found[1]) * UNITS[found[2].upper()])):
        raise UsageError(f'--budget "{text}": it must be a number of multiply-adds such as 20M')
    return value


def short(madds: int) -> str:
    """A budget as its user would write it: 20M."""
    return f"{madds / 10**6:.6g}M"


class Rejected(Exception):
    """A draw that is not trained; the message says why."""


@dataclass(frozen=True)
class Counting:
    """How budgets count.

    Args:
        image: (channels, height, width) of a training image.
        classes: the data's.
        resolution: side at which budgets count instead; None: the training image's.
    """

    image: Shape
    classes: int
    resolution: int | None = None

    def architecture(self, subject: Subject, values: Values) -> Architecture:
        """The network to train."""
        return subject.architecture(values, self.image, self.classes)

    def madds(self, subject: Subject, values: Values) -> int:
        """What counts against a budget."""
        side = self.resolution
        image = (self.image[0], side, side) if side else self.image
        return subject.architecture(values, image, self.classes).madds()


@dataclass(frozen=True)
class Filled:
    """Values that fit a budget, and what they cost there."""

    values: dict[str, Any]
    madds: int

    def gap(self, budget: int) -> float:
        """Share of the budget that is not used."""
        return 1 - self.madds / budget


@dataclass
class Budgets:
    """Brings draws of one subject up to budgets; keeps what it has counted.

    Args:
        subject: what is tuned.
        counting: how.
        filling: "fill" if True, else "cap".
    """

    subject: Subject
    counting: Counting
    filling: bool
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def fit(self, values: Values, budget: int) -> Filled:
        """The draw as it is trained.

        Raises:
            Rejected: it cannot be built, is above the budget, or cannot fill it.
        """
        try:
            if not self.filling:
                return self._capped(Filled(dict(values), self.madds(values)), budget)
            filled = self._raised(self._widest(values, budget), budget)
        except UsageError as error:
            raise Rejected(str(error)) from None
        if filled.gap(budget) > GAP:
            raise Rejected(f"{filled.gap(budget):.1%} below the budget")
        return filled

    def madds(self, values: Values) -> int:
        """What these values cost."""
        key = tuple(sorted((name, str(value)) for name, value in values.items()))
        if key not in self.known:
            self.known[key] = self.counting.madds(self.subject, values)
        return self.known[key]

    def _capped(self, found: Filled, budget: int) -> Filled:
        if found.madds > budget:
            raise Rejected("above the budget")
        return found

    def _widest(self, values: Values, budget: int) -> Filled:
        """The costliest level of the filler that fits.

        Cost falls here and there as width grows, by less than ``slack``: so all levels that near the budget are looked
        at, those further off are not.
        """
        name, levels, slack = self.subject.filler.name, self.subject.filler.values, self.subject.slack

        def at(level: Any) -> Filled:
            filled = {**values, name: level}
            return Filled(filled, self.madds(filled))

        def place(madds: float) -> int:
            return bisect_right(levels, madds, key=lambda level: at(level).madds)

        near = levels[max(0, place(budget * (1 - slack)) - 1) : place(budget * (1 + slack)) + 1]
        within = [found for found in map(at, near) if found.madds <= budget]
        if not within:
            raise Rejected(f"above the budget at the smallest {name}")
        return max(within, key=lambda found: found.madds)

    def _raised(self, filled: Filled, budget: int) -> Filled:
        """Single stages made wider, the costliest that fits first; what did not fit is not tried again."""
        stages: set[int] | None = None
        while True:
            wider = self.subject.raised(filled.values)
            tried = {
                stage: Filled(wider[stage], self.madds(wider[stage])) for stage in stages or wider if stage in wider
            }
            fits = {stage: one for stage, one in tried.items() if filled.madds < one.madds <= budget}
            if not fits:
                return filled
            stages = set(fits)
            filled = max(fits.values(), key=lambda one: one.madds)

    def check(self, budget: int) -> None:
        """Raises UsageError, with what can be reached, where no draw fits the budget or none fills it."""
        if self.filling and any(self._fits(values, budget) for values in self.grid()):
            return
        low, high = self.reach()
        if self.filling or budget < low:
            fails = "fills it to 3 %" if self.filling else "fits it"
            raise UsageError(
                f"--budget {short(budget)}: no setting of {self.subject.name} {fails}; "
                f"it reaches {short(low)} to {short(high)} multiply-adds"
            )

    def _fits(self, values: Values, budget: int) -> bool:
        try:
            self.fit(values, budget)
        except Rejected:
            return False
        return True

    def reach(self) -> tuple[int, int]:
        """The least and the most that can be reached."""
        filler = self.subject.filler
        ends: list[Mapping[str, Any]] = [{filler.name: filler.values[0]}, {filler.name: filler.values[-1]}]
        costs = []
        for values in self.grid():
            for end in ends if self.filling else [{}]:
                try:
                    costs.append(self.madds({**values, **end}))
                except UsageError:
                    continue
        return min(costs), max(costs)

    def grid(self) -> Iterator[dict[str, Any]]:
        """Evenly spread draws, the middle ones first."""
        thinned = [_thin(knob.values) for knob in self.subject.knobs]
        for values in product(*thinned):
            yield dict(zip((knob.name for knob in self.subject.knobs), values, strict=True))


def _thin(values: tuple[Any, ...]) -> list[Any]:
    if len(values) <= THIN:
        chosen = list(values)
    else:
        chosen = [values[round(index * (len(values) - 1) / (THIN - 1))] for index in range(THIN)]
    middle = (len(chosen) - 1) / 2
    return [chosen[index] for index in sorted(range(len(chosen)), key=lambda index: abs(index - middle))]
