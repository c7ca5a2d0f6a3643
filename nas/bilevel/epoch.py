"""What an epoch of a search came to: losses, accuracies, alphas, and signs of a collapse."""

import torch

from nas.bilevel.curvature import Curvature
from nas.bilevel.regularizers import mean_entropy
from nas.cells.genotype import Genotype
from nas.cells.supernet import Supernet
from nas.run.log import SearchEpoch
from nas.train.session import Session


def end_epoch(
    session: Session[SearchEpoch],
    supernet: Supernet,
    valid: tuple[float, float],
    batch: int,
    alignment: float | None,
    curvature: Curvature | None = None,
) -> None:
    """Logs the epoch; ``valid`` is the supernet's (loss, accuracy) on held-out images."""
    curvature = curvature or Curvature(None, None)
    sums, genotype, entropy = session.sums(), supernet.genotype(), alpha_entropy(supernet)
    accuracy, skips = sums["correct"] / (session.per_epoch * batch), skip_share(genotype)
    session.end_epoch(
        f"train {accuracy:.1%}  valid {valid[1]:.1%}  entropy {entropy:.3f}  skips {skips:.0%}{curvature}",
        train_loss=sums["loss"] / session.per_epoch,
        train_accuracy=accuracy,
        valid_loss=valid[0],
        valid_accuracy=valid[1],
        alphas={kind: alpha.tolist() for kind, alpha in supernet.alphas.items()},
        betas={kind: beta.tolist() for kind, beta in supernet.betas.items()} if supernet.betas else None,
        entropy=entropy,
        skip_share=skips,
        alignment=alignment,
        margin=edge_margin(supernet),
        eigenvalue=curvature.eigenvalue,
        eigenvalue_seconds=curvature.seconds,
        genotype=genotype.document(),
    )


@torch.no_grad()
def alpha_entropy(supernet: Supernet) -> float:
    """Entropy in nats of the softmax of an edge's alphas, mean over all edges; ln(operations) at the start."""
    return float(mean_entropy(torch.cat([supernet.scores(kind).softmax(dim=-1) for kind in supernet.alphas]).double()))


@torch.no_grad()
def edge_margin(supernet: Supernet) -> float | None:
    """Strength of an edge's best operation less that of its second best, of those that a found cell may have.

    Returns:
        the mean over all edges; None: no edge has two such operations.
    """
    space, margins = supernet.space, []
    for kind in supernet.alphas:
        strengths = supernet.relax.strengths(supernet.scores(kind)).double()
        candidates = [space.candidates(kind, edge) for edge in range(space.edges)]
        best = [strengths[edge, own].topk(2).values for edge, own in enumerate(candidates) if len(own) > 1]
        margins += [first - second for first, second in best]
    return float(torch.stack(margins).mean()) if margins else None


def skip_share(genotype: Genotype) -> float:
    """Share of the chosen edges that are skip connections: the sign of a collapsing search."""
    operations = genotype.edge_operations
    return operations.count("skip_connect") / len(operations)
