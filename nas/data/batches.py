"""Batches: which images, and their augmentation, per image, on the device."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.data.dataset import Dataset, Split
from nas.data.jitter import ORDERS, jitter
from nas.errors import UsageError
from nas.rng import generator

GRAIN = 2**20
SMALLEST = 0.08
Places = slice | Tensor
"""Of images in a batch."""


@dataclass(frozen=True)
class Augmentation:
    """Random crop, flip, colour jitter and cutout of a whole batch, and the normalisation of every batch.

    Args:
        dataset: gives mean, deviation, padding and whether to flip.
        cutout: mask a square of half the side.
        device: where batches are wanted.
        resized: crop 8 to 100 % of the area at 3:4 to 4:3 and stretch it (Szegedy et al., GoogLeNet, CVPR 2015, §6),
            instead of the padded image.
        jitter: brightness, contrast and saturation are multiplied by 1 ± so much at most.
    """

    mean: Tensor
    std: Tensor
    padding: int
    flip: bool
    cutout: bool
    device: str
    resized: bool = False
    jitter: float = 0.0

    @classmethod
    def of(
        cls, dataset: Dataset, *, cutout: bool, device: str, resized: bool = False, jitter: float = 0.0
    ) -> "Augmentation":
        """The augmentation that fits a data set."""
        mean, std = (torch.tensor(values, device=device).view(1, 3, 1, 1) for values in (dataset.mean, dataset.std))
        return cls(mean, std, dataset.padding, dataset.flip, cutout, device, resized, jitter)

    def draw(self, count: int, size: tuple[int, int], stream: torch.Generator) -> Tensor:
        """The random numbers of ``count`` images: int64 (count, 5): crop row, crop column, flip, cutout row, column.

        With ``resized`` two more for area and shape, and they and the first two are in units of 2⁻²⁰. With ``jitter``
        four more: three factors in the same units, and the order of the changes.
        """
        height, width = size
        place = GRAIN if self.resized else 2 * self.padding + 1
        shape, colour = (GRAIN,) * 2 * self.resized, (*(GRAIN,) * 3, len(ORDERS)) if self.jitter else ()
        highest = (place, place, 2, height, width, *shape, *colour)
        return torch.stack([torch.randint(high, (count,), generator=stream) for high in highest], dim=1)

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) → float, mean 0 and deviation 1, in channels-last memory."""
        scaled = images.to(self.device, non_blocking=True).to(torch.float32).div_(255)
        return ((scaled - self.mean) / self.std).contiguous(memory_format=torch.channels_last)

    def apply(self, images: Tensor, drawn: Tensor) -> Tensor:
        """uint8 (N, 3, H, W) and the numbers drawn for them → augmented float batch of the same size."""
        x, drawn = self.normalise(images), drawn.to(self.device, non_blocking=True)
        x = self._stretched(x, drawn) if self.resized else self._shifted(x, drawn)
        x = self._recoloured(x, drawn) if self.jitter else x
        return x * self._holes(drawn, *x.shape[-2:]) if self.cutout else x

    def _shifted(self, x: Tensor, drawn: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        rows = torch.arange(height, device=x.device) + drawn[:, 0:1]
        columns = torch.arange(width, device=x.device) + drawn[:, 1:2]
        if self.flip:
            columns = torch.where(drawn[:, 2:3].bool(), columns.flip(1), columns)
        padded = F.pad(x, (self.padding,) * 4)
        every = torch.arange(len(x), device=x.device)
        return padded.permute(0, 2, 3, 1)[every[:, None, None], rows[:, :, None], columns[:, None, :]].permute(
            0, 3, 1, 2
        )

    def _stretched(self, x: Tensor, drawn: Tensor) -> Tensor:
        row, column, area, shape = (torch.cat([drawn[:, 0:2], drawn[:, 5:7]], dim=1).float() / GRAIN).unbind(1)
        area = SMALLEST + (1 - SMALLEST) * area
        aspect = (4 / 3) ** (2 * shape - 1)
        tall, wide = (area / aspect).sqrt().clamp(max=1), (area * aspect).sqrt().clamp(max=1)  # of the image's sides
        places = torch.zeros(len(x), 2, 3, device=x.device)
        places[:, 0, 0] = torch.where(drawn[:, 2].bool() & self.flip, -wide, wide)
        places[:, 1, 1] = tall
        places[:, 0, 2] = (2 * column - 1) * (1 - wide)
        places[:, 1, 2] = (2 * row - 1) * (1 - tall)
        grid = F.affine_grid(places, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)

    def _recoloured(self, x: Tensor, drawn: Tensor) -> Tensor:
        factors = 1 + self.jitter * (2 * drawn[:, -4:-1].float() / GRAIN - 1)
        return (jitter(x * self.std + self.mean, drawn[:, -1], factors) - self.mean) / self.std

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
        places: those of each batch that are wanted, where several workers share it; all of it is drawn.
    """

    def __init__(
        self,
        split: Split,
        augmentation: Augmentation,
        batch: int,
        seed: int,
        order: str = "order",
        augment: str = "augment",
        places: Places = slice(None),
    ) -> None:
        if batch > len(split):
            raise UsageError(f"--batch {batch} is larger than the {len(split)} images it is drawn from")
        self.split, self.augmentation, self.batch, self.seed = split, augmentation, batch, seed
        self.order, self.augment, self.places = order, augment, places
        self.steps = len(split) // batch
        self._epoch, self._indices, self._numbers = -1, torch.empty(0), torch.empty(0)

    def at(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of one step, or the wanted places of it: float (batch, 3, H, W) channels-last, labels (batch,)."""
        return self.batch_of(*self.drawn(step))

    def drawn(self, step: int) -> tuple[Tensor, Tensor]:
        """What a step's batch is made of: the images' indices (batch,), the numbers of their augmentation.

        On the images' device and the batches'; they go there once an epoch.
        """
        epoch, index = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._indices, self._numbers = epoch, *self._draw(epoch)
        return self._indices[index, self.places], self._numbers[index, self.places]

    def batch_of(self, indices: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """The batch of what was drawn: nothing random, and on one device nothing that waits for it."""
        chosen = self.split.take(indices)
        return self.augmentation.apply(chosen.images, numbers), chosen.labels.to(self.augmentation.device)

    def _draw(self, epoch: int) -> tuple[Tensor, Tensor]:
        """(steps, batch) and (steps, batch, numbers an image)."""
        permutation = torch.randperm(len(self.split), generator=generator(self.seed, self.order, epoch))
        indices = permutation[: self.steps * self.batch].view(self.steps, self.batch)
        height, width = self.split.images.shape[-2:]
        streams = (generator(self.seed, self.augment, epoch * self.steps + index) for index in range(self.steps))
        numbers = [self.augmentation.draw(self.batch, (height, width), stream) for stream in streams]
        return indices.to(self.split.images.device), torch.stack(numbers).to(self.augmentation.device)


def plain_batches(split: Split, augmentation: Augmentation, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Each image once, in order, not augmented."""
    for images, labels in zip(split.images.split(batch), split.labels.split(batch), strict=True):
        yield augmentation.normalise(images), labels.to(augmentation.device)
