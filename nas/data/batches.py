"""Batches: which images, and their augmentation, per image, on the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.dataset import Dataset, Split
from nas.errors import UsageError
from nas.rng import generator


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flip and cutout of a whole batch, and the normalisation of every batch.

    Args:
        dataset: gives mean, deviation, padding and whether to flip.
        cutout: mask a square of half the side.
        device: where batches are wanted.
    """

    mean: Tensor
    std: Tensor
    padding: int
    flip: bool
    cutout: bool
    device: str

    @classmethod
    def of(cls, dataset: Dataset, *, cutout: bool, device: str) -> "Augmentation":
        """The augmentation that fits a data set."""
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (dataset.mean, dataset.std))
        return cls(mean, std, dataset.padding, dataset.flip, cutout, device)

    def draw(self, count: int, size: tuple[int, int], stream: torch.Generator) -> Tensor:
        """The random numbers of ``count`` images: int64 (count, 5): crop row, crop column, flip, cutout row, column."""
        height, width = size
        highest = (2 * self.padding + 1, 2 * self.padding + 1, 2, height, width)
        return torch.stack([torch.randint(high, (count,), generator=stream) for high in highest], dim=1)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) → float, mean 0 and deviation 1, in channels-last memory."""
        scaled = images.to(self.device, non_blocking=True).to(torch.float32).div_(255)
        return ((scaled - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) and the numbers drawn for them → augmented float batch of the same size."""
        x, drawn = self.normalise(images), drawn.to(self.device, non_blocking=True)
        height, width = x.shape[-2:]
        rows = torch.arange(height, device=x.device) + drawn[:, 0:1]
        columns = torch.arange(width, device=x.device) + drawn[:, 1:2]
        if self.flip:
            columns = torch.where(drawn[:, 2:3].bool(), columns.flip(1), columns)
        padded = F.pad(x, (self.padding,) * 4)
        every = torch.arange(len(x), device=x.device)
        x = padded.permute(0, 2, 3, 1)[every[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
        return x * self._holes(drawn, height, width) if self.cutout else x

    def _holes(self, drawn: Tensor, height: int, width: int) -> Tensor:
        def outside(centre: Tensor, side: int) -> Tensor:
            distance = torch.arange(side, device=drawn.device) - centre
            return (distance < -(side // 4)) | (distance >= side // 4)

        rows, columns = outside(drawn[:, 3:4], height), outside(drawn[:, 4:5], width)
        return (rows[:, None, :, None] | columns[:, None, None, :]).to(torch.float32)


class Stream:
    """An endless, reproducible stream of training batches: the batch of step s depends on (seed, s) alone.

    Each pass is a new permutation; the last incomplete batch of a pass is dropped.

    Args:
        split: the images.
        augmentation: applied to each batch.
        batch: images a batch.
        seed, order, augment: seed and the two random streams' purposes.
        part: which places of each batch are wanted, where several workers share it; all of it is drawn.
    """

    def __init__(
        self,
        split: Split,
        augmentation: Augmentation,
        batch: int,
        seed: int,
        order: str = "order",
        augment: str = "augment",
        part: slice = slice(None),
    ) -> None:
        if batch > len(split):
            raise UsageError(f"--batch {batch} is larger than the {len(split)} images it is drawn from")
        self.split, self.augmentation, self.batch, self.seed = split, augmentation, batch, seed
        self.order, self.augment, self.part = order, augment, part
        self.steps = len(split) // batch
        self._epoch, self._permutation = -1, torch.empty(0, dtype=torch.int64)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of one step, or the part of it: float (batch, 3, H, W) channels-last, labels (batch,)."""
        epoch, index = divmod(step, self.steps)
        if epoch != self._epoch:
            permutation = torch.randperm(len(self.split), generator=generator(self.seed, self.order, epoch))
            self._epoch, self._permutation = epoch, permutation.to(self.split.images.device)
        chosen = self.split.take(self._permutation[index * self.batch : (index + 1) * self.batch][self.part])
        height, width = chosen.images.shape[-2:]
        drawn = self.augmentation.draw(self.batch, (height, width), generator(self.seed, self.augment, step))
        return self.augmentation.apply(chosen.images, drawn[self.part]), chosen.labels.to(self.augmentation.device)


def plain_batches(split: Split, augmentation: Augmentation, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each image once, in order, not augmented."""
    for images, labels in zip(split.images.split(batch), split.labels.split(batch), strict=True):
        yield augmentation.normalise(images), labels.to(augmentation.device)
