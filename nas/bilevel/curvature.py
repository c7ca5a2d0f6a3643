"""The curvature of the held-out loss in the alphas, a sign of collapse (Zela et al., RobustDARTS, ICLR 2020, §4.1)."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.bilevel.second_order import Batch, constant
from nas.cells.recompute import noise_rewinder, still
from nas.cells.supernet import Supernet
from nas.train.process_group import averaged

STEP = 0.3
"""Length of a step of all alphas together, to either side. Long, so that kinks (ReLU, max pooling) average out: on a
small supernet 0.01 gave 2 to 15 times the eigenvalue by automatic differentiation, 0.3 gave 0.7 to 2.7 (n = 4)."""
TOLERANCE = 1e-2
"""Of the eigenvalue, relative."""
VECTORS, RESTARTS = 10, 10
"""Of Lanczos' method: 11 products, two gradients each, where it need not begin again."""


@dataclass(frozen=True)
class Curvature:
    """A measurement: the eigenvalue, None where it cannot be had, and the seconds that it took.

    Both None: there was none.
    """

    eigenvalue: float | None
    seconds: float | None

    def __str__(self) -> str:
        if self.seconds is None:
            return ""
        value = "not finite" if self.eigenvalue is None else f"{self.eigenvalue:.3g}"
        return f"  eigenvalue {value} ({self.seconds:.1f} s)"


def curvature(supernet: Supernet, batch: Batch) -> Curvature:
    """The dominant eigenvalue on a held-out batch, of several workers on their whole batch."""
    start = time.monotonic()
    return Curvature(dominant_eigenvalue(supernet, batch), round(time.monotonic() - start, 3))


def dominant_eigenvalue(
    supernet: Supernet, batch: Batch, step: float = STEP, tolerance: float = TOLERANCE
) -> float | None:
    """The largest (algebraic) eigenvalue of ∇²_α L, the mean cross-entropy of a batch, by Lanczos' method.

    Mixing weights are free of noise, batch norms work as in training; nothing is changed by it, running statistics
    included. In single precision whatever the search's is: differences of bf16 gradients would be rounding.

    Returns:
        None: there is a single alpha, or the gradients are not finite.
    """
    from scipy.sparse.linalg import ArpackError, ArpackNoConvergence, LinearOperator, eigsh

    count = sum(alpha.numel() for alpha in supernet.alphas.values())
    if count < 2:
        return None
    start = np.random.default_rng(0).standard_normal(count)  # ones would be an eigenvector: softmax ignores them
    with still(supernet), constant(supernet.weights):
        operator: Any = LinearOperator((count, count), hessian_product(supernet, batch, step), dtype=np.float64)
        try:
            values = eigsh(
                operator,
                1,
                which="LA",
                v0=start,
                ncv=min(count, VECTORS),
                tol=tolerance,
                maxiter=RESTARTS,
                return_eigenvectors=False,
            )
        except ArpackNoConvergence as error:
            values = error.eigenvalues
        except (ArpackError, FloatingPointError):
            return None
    return float(values[0]) if len(values) else None


def hessian_product(
    supernet: Supernet, batch: Batch, step: float = STEP
) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    """v → ∇²_α L · v ≈ (∇L(α + hv) − ∇L(α − hv)) / 2h, h = step / ‖v‖, with the same draws on both sides.

    It is odd in v to the last bit; of what rounding leaves unsymmetrical in it, Lanczos' coefficients vᵀHv see nothing.
    """
    alphas = list(supernet.alphas.values())
    before, rewind = [alpha.detach().clone() for alpha in alphas], noise_rewinder(supernet)
    images, labels = batch

    def gradient(shift: Tensor) -> Tensor:
        rewind()
        with torch.no_grad():
            for alpha, value, part in zip(alphas, before, shift.split([each.numel() for each in alphas]), strict=True):
                alpha.copy_(value + part.view_as(value))
        try:
            loss = F.cross_entropy(supernet(images), labels)
            slopes = averaged(torch.autograd.grad(loss, alphas, allow_unused=True, materialize_grads=True))
        finally:
            with torch.no_grad():
                for alpha, value in zip(alphas, before, strict=True):
                    alpha.copy_(value)
        return torch.cat([slope.flatten() for slope in slopes])

    def product(vector: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        h = step / float(np.linalg.norm(vector))
        shift = torch.from_numpy(h * vector.ravel()).to(before[0])
        difference: Tensor = (gradient(shift) - gradient(-shift)) / (2 * h)
        if not bool(difference.isfinite().all()):
            raise FloatingPointError("the gradient of the alphas is not finite")
        return difference.double().cpu().numpy()

    return product
