"""The sentinel of a search: rules by which it is taken to collapse, and what is then done.

- ``eigenvalue`` (Zela et al., RobustDARTS, ICLR 2020, §4.3, with the constants of the published code): the mean of the
  last five eigenvalues is more than 1.3 times that of four measurements before; what was found in the middle of the
  earlier five is from before the rise. ``rollback`` is their DARTS-ADA, ten times the weight decay, at most 0.03.
- ``skips`` (Liang et al., DARTS+, arXiv 1909.06035): two skip connections in the normal cell. DARTS+ ends the
  search there, so that nothing is rolled back by it.

Neither looks at the first fifth of the epochs, RobustDARTS' 10 of 50.
"""

from collections.abc import Callable, Sequence
from typing import Any

from nas.bilevel.curvature import Curvature, curvature
from nas.bilevel.second_order import Batch
from nas.bilevel.stages import Stage
from nas.cells.genotype import Genotype
from nas.cells.supernet import Supernet
from nas.run import names
from nas.run.documents import as_json
from nas.run.folder import Run
from nas.run.results import Action, Alarm
from nas.settings import SearchSettings
from nas.train import checkpoint

WINDOW, DELAY, RISE = 5, 4, 1.3
"""Eigenvalues that are averaged, measurements between two averages, and the ratio that is an alarm."""
BEFORE = WINDOW // 2 + DELAY
"""Measurements between the last one and the middle of the earlier window."""
EARLIEST = 0.2
DECAY_FACTOR, MOST_DECAY = 10.0, 0.03
KEPT = BEFORE + 1
"""States that a search is kept in, so that it can go back to the earliest of them."""


class Sentinel:
    """Watches a search; what it has seen is in the checkpoints.

    Args:
        settings: of the search.
    """

    def __init__(self, settings: SearchSettings) -> None:
        self.settings = settings
        self.history: list[tuple[int, float]] = []
        self.alarms: list[Alarm] = []

    @property
    def awake(self) -> bool:
        """Whether it does anything."""
        return self.settings.sentinel != "off" or self.settings.eigenvalue > 0

    @property
    def over(self) -> bool:
        """Whether it has ended the search."""
        return any(alarm.action == "stop" for alarm in self.alarms)

    @property
    def weight_decay(self) -> float:
        """Of the weights, after the rollbacks."""
        rollbacks = sum(alarm.action == "rollback" for alarm in self.alarms)
        decay = self.settings.weight_decay
        return min(decay * DECAY_FACTOR**rollbacks, max(decay, MOST_DECAY))

    @property
    def action(self) -> Action:
        """What the eigenvalue's rise leads to now: a weight decay that is none, or the largest, cannot be raised."""
        mode, decay = self.settings.sentinel, self.weight_decay
        raisable = 0 < decay < MOST_DECAY / 2
        return "warn" if mode == "off" or (mode == "rollback" and not raisable) else mode

    def state_dict(self) -> dict[str, Any]:
        return {"history": list(self.history), "alarms": [as_json(alarm) for alarm in self.alarms]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.history = [(epoch, value) for epoch, value in state["history"]]
        self.alarms = [Alarm(**alarm) for alarm in state["alarms"]]

    def measure(self, epoch: int, stage: Stage, supernet: Supernet, batch: Callable[[], Batch]) -> Curvature | None:
        """The curvature at the end of an epoch, where it is due: of alphas that learn, and all of them."""
        every = self.settings.eigenvalue
        if not every or epoch % every or not stage.learns_alphas(epoch) or self.settings.relaxation == "path":
            return None
        measured = curvature(supernet, batch())
        if measured.eigenvalue is not None:
            self.history.append((epoch, measured.eigenvalue))
        return measured

    def keeps(self, epoch: int) -> bool:
        """Whether the state at the end of an epoch may be gone back to."""
        return self.settings.sentinel in ("stop", "rollback") and epoch in dict(self.history)

    def new_alarms(self, epoch: int, stage: Stage, genotype: Genotype) -> list[Alarm]:
        """What goes off after an epoch; where it only warns, once a search."""
        if self.settings.sentinel == "off":
            return []
        warned = {alarm.rule for alarm in self.alarms if alarm.action == "warn"}
        alarms = [self._rise(epoch, stage), self._skips(epoch, stage, genotype)]
        return [alarm for alarm in alarms if alarm and not (alarm.action == "warn" and alarm.rule in warned)]

    def _rise(self, epoch: int, stage: Stage) -> Alarm | None:
        own = [(each, value) for each, value in self.history if each >= stage.first]
        if len(own) <= BEFORE or own[-1][0] != epoch:
            return None
        back = own[-1 - BEFORE][0]
        now, before = (mean(own[:end]) + self.settings.alpha_weight_decay for end in (None, -DELAY))
        first = max([earliest(stage), *(alarm.back for alarm in self.alarms if alarm.action == "rollback")])
        if before <= 0 or now / before <= RISE or back < first:
            return None
        return Alarm("eigenvalue", epoch, now / before, RISE, self.action, back)

    def _skips(self, epoch: int, stage: Stage, genotype: Genotype) -> Alarm | None:
        limit = self.settings.skip_limit
        count = [name for pairs in genotype.normal.nodes for name, _ in pairs].count("skip_connect")
        if not limit or count < limit or epoch < earliest(stage):
            return None
        return Alarm("skips", epoch, count, limit, "stop" if self.settings.sentinel == "stop" else "warn", epoch)


def mean(history: Sequence[tuple[int, float]]) -> float:
    """Of the last eigenvalues."""
    values = [value for _, value in history[-WINDOW:]]
    return sum(values) / len(values)


def earliest(stage: Stage) -> float:
    """The first epoch of a stage that the rules look at: a share of those in which the alphas learn is over."""
    learning = stage.first + stage.settings.alphas_from
    return learning + EARLIEST * (stage.last - learning)


def sentence(alarm: Alarm) -> str:
    """An alarm for people; epochs count from 1, as in the progress."""
    sign, source = {
        "eigenvalue": (f"the eigenvalue's mean has risen {alarm.value:.2f}-fold (limit {alarm.limit})", "RobustDARTS"),
        "skips": (f"{alarm.value:.0f} skip connections in the normal cell (limit {alarm.limit:.0f})", "DARTS+"),
    }[alarm.rule]
    outcome = {
        "warn": "the search may be collapsing",
        "stop": f"it ends with the cell of epoch {alarm.back + 1}",
        "rollback": f"back to epoch {alarm.back + 1} with {DECAY_FACTOR:.0f} times the weight decay",
    }[alarm.action]
    return f"sentinel: epoch {alarm.epoch + 1}: {sign} ({source}): {outcome}"


def alarms_of(run: Run) -> tuple[Alarm, ...]:
    """Those of a search, from its newest checkpoint."""
    state = checkpoint.load(run.path / names.CHECKPOINT)
    alarms = state.parts.get("sentinel", {}).get("alarms", []) if state else []
    return tuple(Alarm(**alarm) for alarm in alarms)
