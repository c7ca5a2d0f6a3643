"""Many trainings as one result: per network mean, deviation and interval, and which differences count."""

import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

from pydantic.dataclasses import dataclass

from nas.reports.statistics import FEWEST, Difference, compare, deviation, interval
from nas.run.documents import DOCUMENT
from nas.run.fingerprint import Fingerprint, common
from nas.run.hints import near
from nas.run.results import TrainResult
from nas.run.spec import Candidate
from nas.tables import COUNT, HOURS, RANGE, SHARE, TEXT, Table, millions

OVER = "retraining seeds of one cell"


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class NetworkSummary:
    """One network's trainings, one a seed. Accuracies are fractions; deviation and interval are None for one seed.

    Args:
        fingerprint: of all of them; None: not known, or not the same.
        source, sha256: as of :class:`nas.run.spec.TrainSpec`.
    """

    name: str
    source: str
    params: int
    madds: int
    recipe: str
    hardware: str
    seeds: list[int]
    n: int
    test_accuracy: float
    test_accuracy_deviation: float | None
    deviation_is_over: str
    test_accuracy_interval: tuple[float, float] | None
    test_accuracies: list[float]
    valid_accuracies: list[float]
    seconds: float
    device_hours: float
    fingerprint: Fingerprint | None = None
    sha256: str = ""


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class NetworkDifference:
    """What may be said of two networks' test accuracies; ``verdict`` is the sentence.

    Args:
        difference: of the means, not below 0.
        p: as of :class:`nas.reports.statistics.Difference`, like ``seeds_needed``.
        counts: whether it may be called a difference.
    """

    better: str
    other: str
    difference: float
    p: float | None
    seeds_needed: int | None
    counts: bool
    verdict: str


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Comparison:
    """Several networks' summaries and all their differences.

    Args:
        test_accuracy, params, madds: of the one network, where it is alone.
    """

    networks: tuple[NetworkSummary, ...]
    differences: tuple[NetworkDifference, ...]
    recipe: str
    hardware: str
    seconds: float
    device_hours: float
    test_accuracy: float | None = None
    params: int | None = None
    madds: int | None = None


def summarise(network: Candidate, results: Sequence[TrainResult]) -> NetworkSummary:
    """The summary of one network's trainings, which read the test set."""
    first = results[0]
    accuracies = [result.test_accuracy for result in results if result.test_accuracy is not None]
    seconds = sum(result.seconds for result in results)
    return NetworkSummary(
        name=network.name,
        source=network.source,
        sha256=network.sha256,
        params=first.params,
        madds=first.madds,
        recipe=first.recipe,
        hardware=first.hardware,
        seeds=[result.seed for result in results],
        n=len(results),
        test_accuracy=statistics.fmean(accuracies),
        test_accuracy_deviation=deviation(accuracies),
        deviation_is_over=OVER,
        test_accuracy_interval=interval(accuracies),
        test_accuracies=accuracies,
        valid_accuracies=[result.valid_accuracy for result in results if result.valid_accuracy is not None],
        seconds=round(seconds, 1),
        device_hours=round(seconds / 3600, 4),
        fingerprint=common([result.fingerprint for result in results]),
    )


def combine(networks: Sequence[NetworkSummary]) -> Comparison:
    """The comparison of several networks."""
    seconds = sum(network.seconds for network in networks)
    alone = networks[0] if len(networks) == 1 else None
    return Comparison(
        networks=tuple(networks),
        differences=tuple(difference(first, second) for first, second in combinations(networks, 2)),
        recipe=networks[0].recipe,
        hardware=networks[0].hardware,
        seconds=round(seconds, 1),
        device_hours=round(seconds / 3600, 4),
        test_accuracy=alone.test_accuracy if alone else None,
        params=alone.params if alone else None,
        madds=alone.madds if alone else None,
    )


def difference(first: NetworkSummary, second: NetworkSummary) -> NetworkDifference:
    """What may be said of two networks' test accuracies."""
    better, other = sorted((first, second), key=lambda network: -network.test_accuracy)
    test = compare(better.test_accuracies, other.test_accuracies)
    return NetworkDifference(
        better=better.name,
        other=other.name,
        difference=test.value,
        p=test.p,
        seeds_needed=test.seeds_needed,
        counts=test.counts,
        verdict=verdict(better.name, other.name, test),
    )


def verdict(better: str, other: str, test: Difference) -> str:
    """A sentence that claims no more than the seeds allow."""
    gap = f"{100 * test.value:.2f} points"
    if test.counts:
        return f"{better} is better than {other}: {gap}, p = {test.p:.2g} (Welch's t-test, two-sided)"
    few = f"{test.n} seed{'s' if test.n > 1 else ''} a cell, at least {FEWEST} are needed"
    if test.p is None:
        why = few if test.n < FEWEST else "the accuracies do not vary"
    else:
        why = f"p = {test.p:.2g}" + (f", {few}" if test.n < FEWEST else "")
    line = f"{better} and {other}: no difference can be called ({gap}, {why})"
    if test.seeds_needed and test.seeds_needed > test.n:
        line += f"; if it is real, about {test.seeds_needed} seeds a cell would show it (80 % power)"
    return line


def table(networks: Sequence[NetworkSummary]) -> Table:
    """A table with a row a network; one seed has neither deviation nor interval."""
    columns = {
        "cell": ("name", TEXT),
        "test accuracy": ("test_accuracy", SHARE),
        "deviation": ("test_accuracy_deviation", SHARE),
        "95 % interval": ("test_accuracy_interval", RANGE),
        "n": ("n", TEXT),
        "params": ("params", COUNT),
        "MAdds": ("madds", millions),
        "device hours": ("device_hours", HOURS),
        "from": ("source", TEXT),
    }
    here = [replace(network, source=near(network.source)) for network in networks]
    return Table.of("Test accuracy", columns, here)


def notes(result: Comparison) -> list[str]:
    """What belongs under the table: what the deviation is over, and the verdicts."""
    lines = []
    if any(network.n > 1 for network in result.networks):
        lines.append(f"deviation (n − 1) and interval (Student's t) are over {OVER}")
    lines += [each.verdict for each in result.differences]
    if len(result.differences) > 1:
        lines.append(f"{len(result.differences)} comparisons: p is not corrected for their number")
    return lines
