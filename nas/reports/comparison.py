"""Many trainings as one result: per network mean, deviation and interval, and which differences count."""

import statistics
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import TYPE_CHECKING, Any

from nas.reports.statistics import FEWEST, Difference, compare, deviation, interval

if TYPE_CHECKING:
    from rich.table import Table

OVER = "retraining seeds of one cell"


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One network's trainings, one a seed, in the terms of result.json. Accuracies are fractions."""
    accuracies = [result["test_accuracy"] for result in results]
    held_out = [result["valid_accuracy"] for result in results if result["valid_accuracy"] is not None]
    seconds = sum(result["seconds"] for result in results)
    return {
        **{key: results[0][key] for key in ("params", "madds", "recipe", "hardware")},
        "seeds": [result["seed"] for result in results],
        "n": len(results),
        "test_accuracy": statistics.fmean(accuracies),
        "test_accuracy_deviation": deviation(accuracies),
        "deviation_is_over": OVER,
        "test_accuracy_interval": interval(accuracies),
        "test_accuracies": accuracies,
        "valid_accuracies": held_out,
        "seconds": round(seconds, 1),
        "device_hours": round(seconds / 3600, 4),
    }


def combine(networks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The result of several networks' summaries (with "name" and "source"): the networks and all their differences."""
    seconds = sum(network["seconds"] for network in networks)
    return {
        "networks": [dict(network) for network in networks],
        "differences": [difference(first, second) for first, second in combinations(networks, 2)],
        "recipe": networks[0]["recipe"],
        "hardware": networks[0]["hardware"],
        "seconds": round(seconds, 1),
        "device_hours": round(seconds / 3600, 4),
    }


def difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """What may be said of two networks' test accuracies."""
    better, other = sorted((first, second), key=lambda network: -network["test_accuracy"])
    found = compare(better["test_accuracies"], other["test_accuracies"])
    return {
        "better": better["name"],
        "other": other["name"],
        "difference": found.value,
        "p": found.p,
        "seeds_needed": found.seeds_needed,
        "counts": found.counts,
        "verdict": verdict(better["name"], other["name"], found),
    }


def verdict(better: str, other: str, found: Difference) -> str:
    """A sentence that claims no more than the seeds allow."""
    gap = f"{100 * found.value:.2f} points"
    if found.counts:
        return f"{better} is better than {other}: {gap}, p = {found.p:.2g} (Welch's t-test, two-sided)"
    few = f"{found.n} seed{'s' if found.n > 1 else ''} a cell, at least {FEWEST} are needed"
    if found.p is None:
        why = few if found.n < FEWEST else "the accuracies do not vary"
    else:
        why = f"p = {found.p:.2g}" + (f", {few}" if found.n < FEWEST else "")
    line = f"{better} and {other}: no difference can be called ({gap}, {why})"
    if found.seeds_needed and found.seeds_needed > found.n:
        line += f"; if it is real, about {found.seeds_needed} seeds a cell would show it (80 % power)"
    return line


def table(networks: Sequence[Mapping[str, Any]]) -> "Table":
    """The final table, a row a network; one seed has neither deviation nor interval."""
    from rich.table import Table

    columns = ("cell", "test accuracy", "deviation", "95 % interval", "n", "params", "MAdds", "device hours", "from")
    drawn = Table(*columns, box=None)
    for network in networks:
        spread, bounds = network["test_accuracy_deviation"], network["test_accuracy_interval"]
        drawn.add_row(
            network["name"],
            f"{network['test_accuracy']:.2%}",
            "" if spread is None else f"{spread:.2%}",
            "" if bounds is None else f"{bounds[0]:.2%} to {bounds[1]:.2%}",
            str(network["n"]),
            f"{network['params']:,}",
            f"{network['madds'] / 1e6:.1f}M",
            f"{network['device_hours']:.3g}",
            network["source"],
        )
    return drawn


def notes(result: Mapping[str, Any]) -> list[str]:
    """What belongs under the table: what the deviation is over, and the verdicts."""
    networks = result["networks"]
    lines = []
    if any(network["n"] > 1 for network in networks):
        lines.append(f"deviation (n − 1) and interval (Student's t) are over {OVER}")
    lines += [found["verdict"] for found in result["differences"]]
    if len(result["differences"]) > 1:
        lines.append(f"{len(result['differences'])} comparisons: p is not corrected for their number")
    return lines
