"""Perturbations: mixing weights that the weights' half of a step sees in the place of the relaxed alphas.

The alphas themselves are never touched. A row that adds up to its edge's weight still does afterwards.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from nas.bilevel.second_order import Batch
from nas.cells.supernet import Supernet
from nas.moment import Moment, Scalar
from nas.settings import SearchSettings
from nas.train.process_group import averaged

Mixing = Mapping[str, Tensor]
"""Per cell kind (edges, operations)."""
STEPS = 7


class Classifier(Protocol):
    """What an attack needs of a learner."""

    supernet: Supernet
    settings: SearchSettings

    def loss(self, batch: Batch, mixing: Mixing | None = None) -> tuple[Tensor, Tensor]: ...


Perturb = Callable[[Classifier, Batch, Moment], Mixing]


def uniform(learner: Classifier, batch: Batch, moment: Moment) -> Mixing:
    """clip(p + U(−ε, ε)): SDARTS-RS (Chen and Hsieh, ICML 2020, Eq. 7), ε rising linearly."""
    mixing = plain(learner.supernet)
    noises = noise(mixing, learner.settings, moment)
    return {kind: clip(mixing[kind] + noises[kind], mixing[kind]) for kind in mixing}


def adversarial(learner: Classifier, batch: Batch, moment: Moment) -> Mixing:
    """The weights within ε of p for which the training loss is highest: SDARTS-ADV (ibid., Eq. 8 and 9).

    Projected gradient ascent from a random place, in evaluation mode; p where the loss did not rise.
    """
    mixing, size = plain(learner.supernet), epsilon(learner.settings, moment)
    noises = noise(mixing, learner.settings, moment)
    learner.supernet.eval()
    worst = {kind: clip(mixing[kind] + noises[kind], mixing[kind]) for kind in mixing}
    for _ in range(STEPS):
        leaves = {kind: weights.requires_grad_() for kind, weights in worst.items()}
        slopes = torch.autograd.grad(
            learner.loss(batch, leaves)[0], list(leaves.values()), allow_unused=True, materialize_grads=True
        )
        for (kind, weights), slope in zip(leaves.items(), averaged(slopes), strict=True):
            bound = size * total(mixing[kind])
            offset = weights.detach() + 2 / STEPS * bound * slope.sign() - mixing[kind]
            worst[kind] = clip(mixing[kind] + offset.clamp(-bound, bound), mixing[kind])
    with torch.no_grad():
        losses = averaged([learner.loss(batch, worst)[0], learner.loss(batch, mixing)[0]])
        rises = losses[0] > losses[1]
    learner.supernet.train()
    return {kind: torch.where(rises, worst[kind], mixing[kind]) for kind in mixing}


def mutation(learner: Classifier, batch: Batch, moment: Moment) -> Mixing:
    """Some edges run one operation alone, drawn evenly: edge mutation (EM-DARTS); the probability rises linearly."""
    mixing, rate = plain(learner.supernet), learner.settings.mutation * moment.progress
    shapes = [shape for weights in mixing.values() for shape in (weights.shape, (len(weights), 1))]

    def law(moment: Moment) -> Sequence[Tensor]:
        stream = moment.stream("perturbation")
        return [torch.rand(shape, generator=stream) for shape in shapes]

    drawn = moment.drawn("perturbation", law)
    mutated = {}
    for (kind, weights), draws, chances in zip(mixing.items(), drawn[::2], drawn[1::2], strict=True):
        scores = draws.to(weights).where(weights > 0, -1.0)
        mutated[kind] = torch.where(chances.to(weights.device) < rate, alone(scores) * total(weights), weights)
    return mutated


PERTURBATIONS: dict[str, Perturb | None] = {
    "none": None,
    "random": uniform,
    "adversarial": adversarial,
    "mutation": mutation,
}


def plain(supernet: Supernet) -> dict[str, Tensor]:
    """The mixing weights of this half of a step, without a gradient."""
    return {kind: weights.detach() for kind, weights in supernet.mixing().items()}


def epsilon(settings: SearchSettings, moment: Moment) -> Scalar:
    """The largest perturbation of a weight in this epoch."""
    return settings.epsilon_min + (settings.epsilon - settings.epsilon_min) * moment.share


def noise(mixing: Mixing, settings: SearchSettings, moment: Moment) -> dict[str, Tensor]:
    """U(−ε, ε) of its edge's weight for every mixing weight."""
    shapes = [weights.shape for weights in mixing.values()]

    def law(moment: Moment) -> Sequence[Tensor]:
        stream, size = moment.stream("perturbation"), float(epsilon(settings, moment))
        return [torch.empty(shape).uniform_(-size, size, generator=stream) for shape in shapes]

    drawn = zip(mixing.items(), moment.drawn("perturbation", law), strict=True)
    return {kind: each.to(weights) * total(weights) for (kind, weights), each in drawn}


def total(weights: Tensor) -> Tensor:
    """The weight of each edge, (edges, 1): 1, or what partial channels give it; perturbations are relative to it."""
    return weights.sum(dim=1, keepdim=True)


def alone(scores: Tensor) -> Tensor:
    """1 at the highest score of each row, else 0."""
    return torch.zeros_like(scores).scatter_(1, scores.argmax(dim=1, keepdim=True), 1.0)


def clip(weights: Tensor, mixing: Tensor) -> Tensor:
    """The weights back in [0, total] and, by rows, with the sums of ``mixing``; a row of zeros chooses its argmax.

    A masked operation, whose weight is 0, keeps it.
    """
    edges = total(mixing)
    kept = torch.minimum(weights.clamp_min(0), edges).where(mixing > 0, 0.0)
    highest = alone(weights.where(mixing > 0, -torch.inf))
    sums = kept.sum(dim=1, keepdim=True)
    return torch.where(sums > 0, kept / sums.clamp_min(torch.finfo(kept.dtype).tiny), highest) * edges
