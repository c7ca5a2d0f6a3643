"""Progressive searches: stages, each with a supernet of its own in which every edge has fewer operations than before.

P-DARTS (Chen et al., ICCV 2019) makes the network deeper at each stage and begins it anew; DrNAS (Chen et al., ICLR
2021, §3.3) lets more channels through the operations and goes on with the weights.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nas.bilevel.gradients import Learner
from nas.errors import UsageError
from nas.rng import generator
from nas.run import names
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings, numbers
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
    bounds = [settings.epochs * number // len(kept) for number in range(len(kept) + 1)]
    parts = zip(bounds, bounds[1:], kept, settings.of_stages(), strict=False)
    return [Stage(number, *part) for number, part in enumerate(parts)]


def stage_at(plan: Sequence[Stage], epochs: float) -> Stage:
    """The stage of the last step, after so many epochs; of the first one, after none."""
    return next(stage for stage in plan if epochs <= stage.last)


Alphas = Mapping[str, Sequence[Sequence[float]]]
"""Per cell kind (edges, operations)."""
AlphasOf = Callable[[int], Alphas]
"""Those at the end of an epoch."""


def alphas_of(run: Run) -> AlphasOf:
    """Those that a search's run has logged."""

    def logged(epoch: int) -> Alphas:
        log = run.log(SearchEpoch)
        if epoch >= len(log):
            raise UsageError(f"{run.path / names.LOG} is damaged: the alphas of epoch {epoch} are not in it")
        return log[epoch].alphas

    return logged


def space_of_stage(space: CellSpace, plan: Sequence[Stage], stage: Stage, alphas: AlphasOf) -> CellSpace:
    """The space of a stage: of what the last epoch of each stage before left, the strongest operations of each edge."""
    for each in plan[1 : stage.number + 1]:
        assert each.keep is not None
        space = restrict(space, alphas(each.first - 1), each.keep)
    return space


def restrict(space: CellSpace, alphas: Alphas, keep: int) -> CellSpace:
    """The space with the ``keep`` operations of highest alpha on each edge; ties go to the earlier operation.

    A single one is not ``none``: an edge that has nothing else is no edge of a space.
    """
    names, unwanted = list(space.ops), "none" if keep == 1 else ""

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
    widen = Widening(generator(stage.settings.seed, "init", stage.number))
    before = {whole_name(name): value for name, value in old.supernet.state_dict().items()}
    for name, value in new.supernet.state_dict().items():
        value.copy_(widen(before[whole_name(name)], value.shape))
    own = {whole_name(name): parameter for name, parameter in old.supernet.named_parameters()}
    for name, parameter in new.supernet.named_parameters():
        for optimizer, previous in (
            (new.weight_optimizer, old.weight_optimizer),
            (new.alpha_optimizer, old.alpha_optimizer),
        ):
            for key, value in previous.state.get(own[whole_name(name)], {}).items():
                wide = widen(value, parameter.shape if value.dim() else value.shape)
                optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(wide) if wide.dim() else wide


def whole_name(name: str) -> str:
    """A parameter's name, whether or not operations see only a part of the channels."""
    return name.replace(".inner.", ".")


class Widening:
    """Widens tensors: channels that are new copy others, the same ones in every tensor of that width.

    Args:
        stream: draws which.
    """

    def __init__(self, stream: torch.Generator) -> None:
        self.stream = stream
        self.copies: dict[tuple[int, int], Tensor] = {}

    def __call__(self, value: Tensor, shape: torch.Size) -> Tensor:
        """A copy with as many channels as ``shape``."""
        for dim, (have, want) in enumerate(zip(value.shape, shape, strict=True)):
            if have != want:
                if (have, want) not in self.copies:
                    drawn = torch.randint(have, (want - have,), generator=self.stream)
                    self.copies[have, want] = torch.cat([torch.arange(have), drawn])
                value = value.index_select(dim, self.copies[have, want].to(value.device))
        return value.clone()
