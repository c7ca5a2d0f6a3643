"""What trials and a tuning come to, typed. Accuracies are fractions."""

from dataclasses import dataclass as plain_dataclass
from dataclasses import field

from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.knobs import Value
from nas.run.documents import DOCUMENT
from nas.run.results import TrainResult
from nas.settings import TrainSettings
from nas.tuning.space import Shape


@plain_dataclass(frozen=True)
class Outcome:
    """What came of a training.

    Args:
        result: None where it was stopped early, or failed.
        epochs: so many it was trained where it was stopped.
        training_seconds: of this worker.
        failure: why it has failed; empty: it has not.
    """

    result: TrainResult | None
    epochs: int = 0
    training_seconds: float = 0.0
    failure: str = ""

    @classmethod
    def of(cls, error: Exception) -> "Outcome":
        """Of a training that failed."""
        said = " ".join(str(error).split())[:200]
        return cls(
            None, failure=said if isinstance(error, UsageError) else f"{type(error).__name__}: {said}".rstrip(": ")
        )


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class TrialResult:
    """A trial that was trained to its end.

    Args:
        trial: its number.
        accuracy: on held-out training images.
        madds: of the network that is trained; ``budget_madds``: as its budget counts.
        gap: share of the budget that is not used.
        overhead_seconds: of the driver, for this trial; training_seconds: of the worker.
        values: of the knobs.
        folder: of the training, in the run.
        image_size: side in pixels of the images it is trained on.
    """

    study: str
    space: str
    sampler: str
    trial: int
    accuracy: float
    madds: int
    params: int
    seconds: float
    latency_ms: float | None = None
    overhead_seconds: float
    training_seconds: float
    values: dict[str, Value]
    budget: int
    budget_madds: int
    gap: float
    folder: str
    image_size: int


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class StudySummary:
    """A study in figures.

    Args:
        trials: asked for; trained: to their end or to where they were stopped.
        rejected: draws that were not trained, by their reason.
        failed: trials whose training failed, by its reason.
        exhausted: whether every point was drawn.
        importances: share of the accuracy's variance that each knob explains.
    """

    study: str
    space: str
    sampler: str
    pruner: str
    objectives: tuple[str, ...]
    trials: int
    trained: int
    stopped: int
    rejected: dict[str, int]
    failed: dict[str, int] = field(default_factory=dict)
    exhausted: bool
    importances: dict[str, float]
    overhead_seconds_first: float | None
    overhead_seconds_median_of_later: float | None
    training_seconds_median: float | None


@dataclass(frozen=True, config=DOCUMENT)
class PublishedResult:
    """A published setting, trained by the same recipe and as many seeds as a trial, whose mean accuracy it has.

    Args:
        space: it is of; empty, in older results: its name begins with that.
        budget_madds: as :class:`TrialResult`'s; None: as ``madds``.
    """

    name: str
    values: dict[str, Value]
    accuracy: float
    madds: int
    params: int
    seconds: float
    space: str = ""
    budget_madds: int | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Final:
    """A winner, trained anew with several seeds on all training images.

    Args:
        test_accuracy: the mean.
        interval: 95 % interval of the mean (Student's t); None for one seed.
        p_against_first: Welch's test against the best under the same budget; None for that one.
    """

    budget: int
    space: str
    seeds: tuple[int, ...]
    n: int
    test_accuracies: tuple[float, ...]
    test_accuracy: float
    interval: tuple[float, float] | None
    p_against_first: float | None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class TuneResult:
    """A tuning.

    Args:
        best: the most accurate trial of each budget, space and sampler, best first.
        front: the trials that none beats in accuracy and multiply-adds at once, cheapest first.
        validation: held-out images that trials are judged on.
        recipe: hash of ``settings``.
    """

    studies: tuple[StudySummary, ...]
    budgets: tuple[int, ...]
    image: Shape
    best: tuple[TrialResult, ...]
    published: tuple[PublishedResult, ...]
    front: tuple[TrialResult, ...]
    finals: tuple[Final, ...]
    seed: int
    validation: int
    recipe: str
    settings: TrainSettings
    hardware: str
