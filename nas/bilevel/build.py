"""A search's supernet and its learner, from the settings."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.bilevel.gradients import Learner, Loss
from nas.bilevel.second_order import Batch
from nas.cells.partial import PartialFanOut
from nas.cells.sampled import SampledSupernet
from nas.cells.supernet import FanOut, MixedFanOut, Supernet
from nas.engine.merged import MergedFanOut
from nas.execution import mixed
from nas.rng import generator
from nas.settings import SearchSettings
from nas.space import CellSpace

ENGINES: dict[str, FanOut] = {"merged": MergedFanOut, "reference": MixedFanOut}
"""Two ways to compute the same supernet from the same parameters: a checkpoint of one loads into the other."""


def build_supernet(settings: SearchSettings, space: CellSpace, classes: int) -> Supernet:
    """A supernet with the weights and alphas that belong to the seed."""
    sampled = settings.relaxation == "path"
    fan_out = ENGINES[settings.engine]
    if settings.partial > 1:
        fan_out = partial(PartialFanOut, fan_out, settings.partial)
    make = SampledSupernet if sampled else partial(Supernet, fan_out=fan_out, edge_weights=settings.partial > 1)
    with torch.random.fork_rng():
        torch.manual_seed(generator(settings.seed, "init").initial_seed())
        return make(
            space,
            channels=settings.channels,
            cells=settings.cells,
            classes=classes,
            recompute=settings.recompute,
        )


def make_learner(supernet: Supernet, settings: SearchSettings, device: str) -> Learner:
    """The supernet's bilevel learner, in the precision of the settings."""
    return Learner(supernet.weights, supernet.architecture, loss_of(supernet, settings, device), settings)


def loss_of(supernet: Supernet, settings: SearchSettings, device: str) -> Loss:
    """A function of a batch: (mean cross-entropy, logits)."""

    def loss(batch: Batch) -> tuple[Tensor, Tensor]:
        images, labels = batch
        with mixed(settings.precision, device):
            logits = supernet(images)
        return F.cross_entropy(logits.float(), labels), logits

    return loss
