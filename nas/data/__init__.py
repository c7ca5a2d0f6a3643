"""Images: whole data sets as uint8 tensors on the device, batches augmented there."""

import os
from dataclasses import replace
from pathlib import Path

import torch

from nas.data.dataset import Dataset, Split
from nas.errors import UsageError, nearest
from nas.files import cache

NAMES = ("cifar10", "cifar100", "digits")


def load(name: str, *, root: Path | None = None, image_size: int | None = None, device: str = "cpu") -> Dataset:
    """A data set by its name, or an image folder; on the device where it fits half the free memory.

    Args:
        root: folder of the CIFAR files; then ``NAS_DATA``, then ``~/.cache/nas``.
        image_size: side in pixels of an image folder's images; others are only made smaller.

    Raises:
        UsageError: no such data, or files missing or damaged.
    """
    if name in ("cifar10", "cifar100"):
        from nas.data import cifar

        dataset = cifar.load(name, root or Path(os.environ.get("NAS_DATA") or cache()))
    elif name == "digits":
        from nas.data import digits

        dataset = digits.load()
    elif Path(name).is_dir():
        from nas.data import folder

        dataset = folder.load(Path(name), image_size, cache())
    else:
        raise UsageError(f'data "{name}" is neither a folder nor a known name: {nearest(name, list(NAMES))}')
    if image_size and name in NAMES:
        dataset = dataset.shrunk(image_size)
    return replace(dataset, train=_place(dataset.train, device), test=_place(dataset.test, device))


def _place(split: Split, device: str) -> Split:
    if device == "cpu":
        return split
    free, _ = torch.cuda.mem_get_info(device)
    fits = split.images.numel() < free / 2
    return Split(split.images.to(device) if fits else split.images, split.labels.to(device) if fits else split.labels)
