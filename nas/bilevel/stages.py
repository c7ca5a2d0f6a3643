"""Progressive searches: stages, each with a supernet of its own in which every edge has fewer operations than before.

P-DARTS (Chen et al., ICCV 2019) makes the network deeper at each stage and begins it anew; DrNAS (Chen et al., ICLR
2021, §3.3) lets more channels through the operations and goes on with the weights.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas.bilevel.gradients import Learner
from nas.rng import generator
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings, numbers
from nas.skeleton import SKELETONS
from nas.space import CellSpace


@dataclass(frozen=True)
class Stage:
    """A part of a search.

    Args:
        number: from 0.
        first, last: its epochs, the last one excluded.
        keep: operations of an edge; None: all.
        settings: the search's, with this stage's depth and share of the channels.
    """

    number: int
    first: int
    last: int
    keep: int | None
    settings: SearchSettings

    def learns_alphas(self, epoch: int) -> bool:
        """Whether the alphas learn in an epoch: not in a stage's first ones, if the search has such."""
        return epoch - self.first >= self.settings.alphas_from


def stages(settings: SearchSettings) -> list[Stage]:
    """The stages of a search, of as many epochs each; one, if nothing is dropped midway."""
    kept = [None, *numbers(settings.keep)]
    partials = numbers(settings.stage_partials) or [settings.partial] * len(kept)
    bounds = [settings.epochs * number // len(kept) for number in range(len(kept) + 1)]
    whole = replace(settings, keep="", stage_partials="", deepen=0)
    sized = [
        replace(whole, cells=settings.cells + number * settings.deepen, partial=partial)
        for number, partial in enumerate(partials)
    ]
    parts = zip(bounds, bounds[1:], kept, sized, strict=False)
    return [Stage(number, *part) for number, part in enumerate(parts)]


def stage_at(plan: Sequence[Stage], epochs: float) -> Stage:
    """The stage of the last step, after so many epochs; of the first one, after none."""
    return next(stage for stage in plan if epochs <= stage.last)


def space_of(space: CellSpace, plan: Sequence[Stage], stage: Stage, log: Sequence[SearchEpoch]) -> CellSpace:
    """The space of a stage: of what the last epoch of each stage before left, the strongest operations of each edge."""
    for each in plan[1 : stage.number + 1]:
        assert each.keep is not None
        space = restricted(space, log[each.first - 1].alphas, each.keep, last=each is plan[-1])
    return space


def restricted(space: CellSpace, alphas: dict[str, list[list[float]]], keep: int, *, last: bool) -> CellSpace:
    """The space with the ``keep`` operations of highest alpha on each edge; ties go to the earlier operation.

    In the last stage ``none`` goes first, where it cannot be in a cell.
    """
    names, unwanted = list(space.ops), "none" if last and SKELETONS[space.skeleton].inputs_kept else ""

    def edge(kind: str, row: int) -> tuple[str, ...]:
        order = sorted(
            space.options(kind, row), key=lambda index: (names[index] == unwanted, -alphas[kind][row][index])
        )
        return tuple(names[index] for index in sorted(order[:keep]))

    return replace(space, choices={kind: tuple(edge(kind, row) for row in range(space.edges)) for kind in space.kinds})


@torch.no_grad()
def carry(old: Learner, new: Learner, stage: Stage) -> None:
    """Brings alphas, weights, statistics and momenta of a stage into the next; channels that are new copy others.

    Which ones is drawn (Net2Wider without its rescaling, as DrNAS does: batch norms follow).
    """
    before, stream = old.supernet.state_dict(), generator(stage.settings.seed, "init", stage.number)
    copies: dict[tuple[int, int], Tensor] = {}
    state = {
        name: fitted(before[name], value.shape, copies, stream) if name in before else value
        for name, value in new.supernet.state_dict().items()
    }
    new.supernet.load_state_dict(state)
    own = dict(old.supernet.named_parameters())
    for name, parameter in new.supernet.named_parameters():
        for optimizer, previous in (
            (new.weight_optimizer, old.weight_optimizer),
            (new.alpha_optimizer, old.alpha_optimizer),
        ):
            for key, value in (previous.state.get(own[name], {}) if name in own else {}).items():
                shape = parameter.shape if value.dim() else value.shape
                optimizer.state[parameter][key] = fitted(value, shape, copies, stream)


def fitted(value: Tensor, shape: torch.Size, copies: dict[tuple[int, int], Tensor], stream: torch.Generator) -> Tensor:
    """A tensor with as many channels as ``shape``, those that are new copies of others, the same for every tensor."""
    for dim, (have, want) in enumerate(zip(value.shape, shape, strict=True)):
        if have != want:
            if (have, want) not in copies:
                drawn = torch.randint(have, (want - have,), generator=stream)
                copies[have, want] = torch.cat([torch.arange(have), drawn])
            value = value.index_select(dim, copies[have, want].to(value.device))
    return value.clone()
