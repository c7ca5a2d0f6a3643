"""A search in float64, where two ways to the same numbers stay together."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from nas.bilevel import loop
from nas.bilevel.build import build_supernet
from nas.cells.supernet import Supernet
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset

Patch = Callable[[Any, str, Any], None]
"""As setattr."""


def in_float64(patch: Patch) -> None:
    """Makes searches of this process compute so."""
    normalise, random_batch = Augmentation.normalise, Dataset.random_batch

    def precise(augmentation: Augmentation, images: Tensor) -> Tensor:
        return normalise(augmentation, images).double()

    def precise_batch(dataset: Dataset, *sizes: Any) -> tuple[Tensor, Tensor]:
        images, labels = random_batch(dataset, *sizes)
        return images.double(), labels

    def precise_supernet(*arguments: Any) -> Supernet:
        return build_supernet(*arguments).double()

    patch(Augmentation, "normalise", precise)
    patch(Dataset, "random_batch", precise_batch)
    patch(loop, "build_supernet", precise_supernet)
