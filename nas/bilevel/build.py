"""A search's supernet from the settings."""

from functools import partial

import torch

from nas.bilevel.relaxation import RELAXATIONS
from nas.cells.partial import PartialFanOut
from nas.cells.sampled import SampledFanOut
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.engine.merged import BACKENDS, MergedFanOut
from nas.engine.overlay import lay_on_inputs
from nas.rng import generator
from nas.settings import SearchSettings
from nas.space import CellSpace

ENGINES: dict[str, FanOut] = {"merged": MergedFanOut, "reference": MixedFanOut}
"""Two ways to compute the same supernet from the same parameters: a checkpoint of one loads into the other."""


def build_supernet(settings: SearchSettings, space: CellSpace, classes: int, backend: str = "auto") -> Supernet:
    """A supernet with the weights and alphas that belong to the seed; the merged engine's is of that back end."""
    fan_out = SampledFanOut if settings.relaxation == "path" else ENGINES[settings.engine]
    if fan_out is MergedFanOut:
        fan_out = partial(MergedFanOut, backends=BACKENDS[backend])
    if settings.partial > 1:
        fan_out = partial(PartialFanOut, fan_out, settings.partial)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(settings.seed, "init").initial_seed())
        supernet = Supernet(
            space,
            channels=settings.channels,
            cells=settings.cells,
            classes=classes,
            fan_out=fan_out,
            edge_weights=settings.partial > 1 and settings.edge_weights,
            recompute=settings.recompute,
            skip=settings.skip > 0,
        )
    if settings.engine == "merged":
        lay_on_inputs(supernet.network, backend)
    shapes = {kind: alphas.shape for kind, alphas in supernet.alphas.items()}
    supernet.relax = RELAXATIONS[settings.relaxation](settings, shapes)
    return supernet
