"""Layer alignment, a sign of collapse (Movahedi et al., Λ-DARTS, ICLR 2023, Eq. 4).

It says whether the normal cells of a network pull their common alphas the same way.
"""

from itertools import combinations

import torch
import torch.nn.functional as F

from nas.bilevel.second_order import Batch
from nas.cells.recompute import still
from nas.cells.supernet import Supernet
from nas.train.process_group import averaged


def layer_alignment(supernet: Supernet, batch: Batch) -> float | None:
    """Mean cosine between the gradients that every two normal cells have of the mixing weights.

    Nothing is changed by it, running statistics included.

    Returns:
        from −1 to 1; None: there are no two normal cells, or no weights to differentiate.
    """
    rows = supernet.cell_weights({kind: weights.detach() for kind, weights in supernet.mixing().items()})
    leaves = [row.clone().requires_grad_() for row in rows]
    normal = [leaf for leaf, kind in zip(leaves, supernet.network.kinds, strict=True) if kind == "normal"]
    if len(normal) < 2:
        return None
    images, labels = batch
    with still(supernet):
        loss = F.cross_entropy(supernet.network(images, leaves), labels)
        slopes = averaged(torch.autograd.grad(loss, normal))
    own = [slope[:, : len(supernet.space.ops)].flatten() for slope in slopes]  # without a skip beside the mixture
    cosines = [F.cosine_similarity(left, right, dim=0) for left, right in combinations(own, 2)]
    return float(torch.stack(cosines).mean())
