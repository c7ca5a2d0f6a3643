"""Images: whole data sets as uint8 tensors on the device, batches augmented there."""

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from nas.data.dataset import Dataset, Split
from nas.errors import UsageError, nearest
from nas.files import cache
from nas.settings import DATA

NAMES = DATA


def load(name: str, *, root: Path | None = None, image_size: int | None = None, device: str = "cpu") -> Dataset:
    """A data set by its name, or an image folder; on the device where it fits half the free memory.

    It is read once a process: whoever asks again gets the same one.

    Args:
        root: folder of the CIFAR files; then ``NAS_DATA``, then ``~/.cache/nas``.
        image_size: side in pixels of an image folder's images; others are only made smaller.

    Raises:
        UsageError: no such data, or files missing or damaged.
    """
    if name not in NAMES and not Path(name).is_dir() and not is_packed(name):
        raise UsageError(f'data "{name}" is neither a folder nor a known name: {nearest(name, list(NAMES))}')
    return _load(name, place(name, root).resolve(), image_size, device)


def place(name: str, root: Path | None = None) -> Path:
    """Where a data set is looked for; see :func:`load`."""
    return root or Path(os.environ.get("NAS_DATA") or cache()) if name.startswith("cifar") else Path(name)


def is_packed(name: str) -> bool:
    """Whether a name is that of a file of images, as ``nas.pack`` writes it."""
    return name.endswith(".safetensors") and Path(name).is_file()


@lru_cache(maxsize=4)
def _load(name: str, place: Path, image_size: int | None, device: str) -> Dataset:
    if device != "cpu":
        dataset = _load(name, place, image_size, "cpu")
        return replace(dataset, train=_moved(dataset.train, device), test=_moved(dataset.test, device))
    if name not in NAMES and not is_packed(name):
        from nas.data import folder

        return folder.load(Path(name), image_size, cache())
    if is_packed(name):
        from nas.data import tensors

        dataset = tensors.load(Path(name))
    elif name == "digits":
        from nas.data import digits

        dataset = digits.load()
    else:
        from nas.data import cifar

        dataset = cifar.load(name, place)
    return dataset.shrunk(image_size) if image_size else dataset


forget = _load.cache_clear
"""Has all data read anew."""


def _moved(split: Split, device: str) -> Split:
    """The split on the device, or as it is where it would fill more than half of the free memory."""
    free, _ = torch.cuda.mem_get_info(device)
    fits = split.images.numel() < free / 2
    return Split(split.images.to(device), split.labels.to(device)) if fits else split
