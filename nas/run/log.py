"""A line of log.jsonl, typed: what an epoch came to. Accuracies are fractions, losses mean cross-entropies."""

from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from nas.run.documents import DOCUMENT, Number, Real


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Epoch:
    """An epoch of a training; ``valid_…`` where images are held out."""

    epoch: Annotated[int, Field(ge=0)]
    seconds: Real
    train_loss: Number
    train_accuracy: Real
    valid_loss: Number | None = None
    valid_accuracy: Real | None = None


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class SearchEpoch(Epoch):
    """An epoch of a search.

    Args:
        alphas: per cell kind (edges, operations).
        betas: per cell kind (edges,), where edges have weights of their own.
        entropy: mean entropy of the softmax of an edge's alphas, in nats.
        skip_share: share of the genotype's edges that are skip connections.
        alignment: of the normal cells' gradients (Λ-DARTS); None: there are no two of them.
        margin: between an edge's strongest operation and the second best, mean over all edges that have two.
        eigenvalue: the largest of the held-out loss's Hessian by the alphas (RobustDARTS), by differences, which the
            kinks of ReLU and max pooling enlarge; None: not measured after this epoch, or not finite.
        eigenvalue_seconds: what it took.
        genotype: the document of the cell so far.
    """

    valid_loss: Number
    valid_accuracy: Real
    alphas: dict[str, list[list[Number]]]
    betas: dict[str, list[Number]] | None = None
    entropy: Number
    skip_share: Real
    alignment: Real | None = None
    margin: Real | None = None
    eigenvalue: Real | None = None
    eigenvalue_seconds: Real | None = None
    genotype: dict[str, Any]


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class ProjectionRound(Epoch):
    """A round of a selection by perturbation; ``valid_accuracy`` is the supernet's after its tuning.

    Args:
        operations: per cell kind each edge's operation, as a place in the space; -1: none yet.
        present: per cell kind whether an edge is still there.
    """

    operations: dict[str, list[int]]
    present: dict[str, list[bool]]


@dataclass(frozen=True, kw_only=True, config=DOCUMENT)
class Event:
    """A line of events.jsonl; ``by`` is the error that ended a process."""

    event: str
    step: int = 0
    time: Real = 0.0
    by: str = ""
