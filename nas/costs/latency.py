"""How long a network takes on this machine, eager and exported; several by turns, so that drift hits all alike."""

import statistics
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class Latency:
    """Milliseconds a batch: median and quartiles over ``repeats`` runs after ``warmup`` more."""

    median_ms: float
    low_ms: float
    high_ms: float
    repeats: int
    warmup: int
    batch: int
    threads: int

    def document(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


def measure(
    networks: Mapping[str, nn.Module],
    input_shape: tuple[int, int, int],
    *,
    batch: int = 1,
    warmup: int = 5,
    repeats: int = 30,
) -> dict[str, dict[str, Latency]]:
    """Times every network in eval mode, {name: {"eager": …, "exported": …}}, on as many threads as torch has now.

    Args:
        input_shape: (channels, height, width) of one image.
        batch: images at once.
        warmup, repeats: rounds before and while measuring; a round runs each network once, both ways.
    """
    images = torch.randn(batch, *input_shape, generator=torch.Generator().manual_seed(0))
    runs: dict[tuple[str, str], Callable[[Tensor], Any]] = {}
    for name, network in networks.items():
        network.eval()
        runs[name, "eager"] = network
        runs[name, "exported"] = torch.export.export(network, (images,)).module()
    with torch.inference_mode():
        times = by_turns(runs, images, warmup=warmup, repeats=repeats)
    result: dict[str, dict[str, Latency]] = {name: {} for name in networks}
    for (name, way), taken in times.items():
        result[name][way] = taken
    return result


def by_turns(
    runs: Mapping[Key, Callable[[Tensor], Any]], images: Tensor, *, warmup: int, repeats: int
) -> dict[Key, Latency]:
    """Times functions of the same images, each once a round; the first ``warmup`` rounds do not count."""
    times: dict[Key, list[float]] = {key: [] for key in runs}
    for _ in range(warmup + repeats):
        for key, run in runs.items():
            start = time.perf_counter()
            run(images)
            times[key].append(1000 * (time.perf_counter() - start))
    quartiles = {key: statistics.quantiles(taken[warmup:], n=4) for key, taken in times.items()}
    conditions = (repeats, warmup, len(images), torch.get_num_threads())
    return {key: Latency(median, low, high, *conditions) for key, (low, median, high) in quartiles.items()}
