"""Relaxations: what stands in a step for the choice between an edge's operations.

``softmax`` is the supernet's own mixture. ``path`` draws one operation of each edge (Dong and Yang, GDAS, CVPR 2019).
"""

from nas.cells.sampled import SampledSupernet
from nas.cells.supernet import Supernet
from nas.rng import generator
from nas.settings import SearchSettings


def draw_paths(supernet: Supernet, settings: SearchSettings, epoch: int, step: int, turn: int) -> None:
    """Draws the paths of one half of a step, if paths are drawn; the temperature falls linearly over the epochs.

    Args:
        turn: 0: the alphas' half; 1: the weights'.
    """
    if isinstance(supernet, SampledSupernet):
        progress = epoch / max(1, settings.epochs - 1)
        tau = settings.tau + progress * (settings.tau_min - settings.tau)
        supernet.draw(generator(settings.seed, "gumbel", step, turn), tau)
