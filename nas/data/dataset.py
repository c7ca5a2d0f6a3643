"""A labelled image data set, whole, as uint8 tensors."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.errors import UsageError
from nas.rng import generator


@dataclass(frozen=True)
class Split:
    """Images and labels.

    Args:
        images: uint8 (n, 3, H, W), on the device or memory-mapped on the CPU.
        labels: int64 (n,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, indices: Tensor) -> "Split":
        """The images at these indices, in their order."""
        indices = indices.to(self.images.device)
        return Split(self.images[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """Training and test images and what their augmentation needs.

    Args:
        name: cifar10, cifar100, digits, or a folder's path.
        classes: class names in label order.
        train, test: the two splits.
        mean, std: per channel, of the training images in [0, 1].
        padding: pixels of the mean colour around an image before a random crop of its size; the published code,
            which pads before it normalises, has black ones.
        flip: whether mirrored images are as good.
        official: whether its files are those that were published; None: there are none to hold them against.
    """

    name: str
    classes: tuple[str, ...]
    train: Split
    test: Split
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 4
    flip: bool = True
    official: bool | None = None

    def shrunk(self, side: int) -> "Dataset":
        """The same with smaller square images.

        Raises:
            UsageError: they are no larger than that now.
        """
        shorter = min(self.shape[1:])
        if side >= shorter:
            raise UsageError(
                f"--image-size {side}: the images of {self.name} have {shorter} pixels and are only made smaller"
            )
        padding = round(self.padding * side / shorter)
        return replace(self, train=_shrunk(self.train, side), test=_shrunk(self.test, side), padding=padding)

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise UsageError(f"data {self.name}: {len(self.classes)} class; at least two are needed to learn anything")
        if not len(self.train) or not len(self.test):
            raise UsageError(f"data {self.name}: {len(self.train)} training and {len(self.test)} test images")

    @cached_property
    def digest(self) -> str:
        """Sixteen hex digits of the SHA-256 of all images, labels and class names; some seconds for each 1,000 MB."""
        sha = hashlib.sha256("\n".join(self.classes).encode())
        for tensor in (self.train.images, self.train.labels, self.test.images, self.test.labels):
            sha.update(str(tuple(tensor.shape)).encode())
            for part in tensor.split(10_000):
                sha.update(part.cpu().contiguous().numpy())
        return sha.hexdigest()[:16]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(3, H, W) of one image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    def random_batch(self, images: int, device: str) -> tuple[Tensor, Tensor]:
        """Noise of the images' shape, (images, 3, H, W), and random labels: what a measured step needs."""
        stream = generator(0, "extra")
        labels = torch.randint(len(self.classes), (images,), generator=stream).to(device)
        return torch.randn(images, *self.shape, generator=stream).to(device), labels

    def limited(self, limit: int | None, seed: int) -> "Dataset":
        """At most so many of the training images, drawn by the seed."""
        if limit is None or limit >= len(self.train):
            return self
        order = torch.randperm(len(self.train), generator=generator(seed, "split", 0))
        return replace(self, train=self.train.take(order[:limit]))

    def shuffled(self, seed: int) -> "Dataset":
        """The same images under random labels: the control in which nothing can be learnt."""
        order = torch.randperm(len(self.train), generator=generator(seed, "labels"))
        return replace(self, train=Split(self.train.images, self.train.labels[order.to(self.train.labels.device)]))

    def divided(self, held_out: int, seed: int) -> tuple[Split, Split]:
        """The training images in two: (the rest, ``held_out`` of them), drawn by the seed.

        Raises:
            UsageError: nothing would remain.
        """
        if held_out >= len(self.train):
            raise UsageError(f"{held_out} images cannot be held out of {len(self.train)} training images")
        order = torch.randperm(len(self.train), generator=generator(seed, "split", 1))
        rest = self.train.take(order[held_out:])
        return rest, self.train.take(order[:held_out]) if held_out else self.train.take(order[:0])


def statistics(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation per channel of uint8 images (n, 3, H, W), in [0, 1], over some 50,000 of them at most.

    They are taken from all over, as images may lie class by class.
    """
    total, square, count = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64), 0
    for chunk in images[:: -(-len(images) // 50_000) or 1].split(1000):
        scaled = chunk.double() / 255
        total += scaled.sum((0, 2, 3)).cpu()
        square += scaled.square().sum((0, 2, 3)).cpu()
        count += scaled[:, 0].numel()
    mean = total / count
    std = (square / count - mean.square()).clamp_min(1e-6).sqrt()
    return tuple(mean.tolist()), tuple(std.tolist())


def _shrunk(split: Split, side: int) -> Split:
    """Antialiased; in parts, because each is a float for a while."""

    def shrink(part: Tensor) -> Tensor:
        return F.interpolate(part.float(), (side, side), mode="bilinear", antialias=True).round().to(torch.uint8)

    return replace(split, images=torch.cat([shrink(part) for part in split.images.split(5000)]))
