"""Images of one's own as one file of tensors, so that a run on them can be resumed and repeated."""

import json
from operator import index
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from nas.data.dataset import Dataset, Split, statistics
from nas.errors import UsageError

PARTS = ("train", "test")


def load(path: Path) -> Dataset:
    """The images in a file that :func:`pack` has written.

    Raises:
        UsageError: it is none, or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            splits = [Split(*(file.get_tensor(f"{part}.{name}") for name in ("images", "labels"))) for part in PARTS]
            classes = json.loads((file.metadata() or {})["classes"])
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        raise UsageError(f"data {path}: no file of images as nas.pack writes it: {error}") from None
    return _dataset(str(path), classes, *splits)


def _dataset(name: str, classes: list[str], train: Split, test: Split) -> Dataset:
    padding = max(1, train.images.shape[-1] // 8)
    return Dataset(name, tuple(classes), train, test, *statistics(train.images), padding=padding)


def pack(train: Any, test: Any, folder: Path) -> Path:
    """Writes images to a file of ``folder`` that bears their digest.

    Args:
        train: a torch Dataset of (image, label), or a pair of tensors: uint8 images (n, 1 or 3, H, W), labels (n,).
        test: the same; None: a fifth of ``train``, drawn class by class.

    Raises:
        UsageError: images that are neither bytes nor numbers from 0 to 1, or of several sizes; labels below 0.
    """
    from safetensors.torch import save

    from nas.files import write

    first = split_of(train)
    splits = (first, split_of(test)) if test is not None else divided(first)
    labels = torch.cat([split.labels for split in splits])
    classes = [str(name) for name in getattr(train, "classes", range(int(labels.max()) + 1))]
    if (others := getattr(test, "classes", None)) and [str(name) for name in others] != classes:
        raise UsageError("data: training and test images have other classes, or the same in another order")
    if not 0 <= labels.min() <= labels.max() < len(classes) or len({split.images.shape[1:] for split in splits}) > 1:
        raise UsageError(f"data: labels must be 0 to {len(classes) - 1}, training and test images of one size")
    path = folder / f"images-{_dataset('', classes, *splits).digest}.safetensors"
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {
            f"{part}.{name}": tensor
            for part, each in zip(PARTS, splits, strict=True)
            for name, tensor in vars(each).items()
        }
        write(path, save(tensors, {"classes": json.dumps(classes)}))
    return path


def split_of(given: Any) -> Split:
    """Images and labels of a torch Dataset or of a pair of tensors; see :func:`pack`."""
    try:
        if isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], Tensor):
            images, labels = given[0], torch.as_tensor(given[1])
        else:
            items = [given[place] for place in range(len(given))]
            images = torch.stack([_tensor(image) for image, _ in items])
            labels = torch.tensor([index(label) for _, label in items])
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"data: no (image, label) of one size: {str(error).splitlines()[0]}") from None
    if images.dim() != 4 or images.shape[1] not in (1, 3) or labels.shape != images.shape[:1]:
        raise UsageError(f"data: images {tuple(images.shape)}, labels {tuple(labels.shape)}: not (n, 3, H, W), (n,)")
    if labels.is_floating_point():
        raise UsageError(f"data: labels are {labels.dtype}: they must be whole numbers")
    return Split(_bytes(images).expand(-1, 3, -1, -1).contiguous(), labels.long())


def _tensor(image: Any) -> Tensor:
    """(3, H, W) of a PIL image; a tensor as it is."""
    from torchvision.transforms.functional import pil_to_tensor

    return (
        image
        if isinstance(image, Tensor)
        else pil_to_tensor(image.convert("RGB") if hasattr(image, "convert") else image)
    )


def _bytes(images: Tensor) -> Tensor:
    """Bytes as they are; numbers from 0 to 1, as torchvision's ToTensor makes of bytes, as these bytes again."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
        raise UsageError(f"data: images are {images.dtype}: they must be uint8, or numbers from 0 to 1: not normalised")
    return (images * 255).round().to(torch.uint8)


def divided(split: Split) -> tuple[Split, Split]:
    """Four fifths and a fifth, always the same ones, class by class."""
    from sklearn.model_selection import train_test_split

    labels = split.labels.numpy()
    try:
        train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    except ValueError as error:
        raise UsageError(f"data: no test images can be drawn class by class: {error}") from None
    return split.take(torch.from_numpy(train)), split.take(torch.from_numpy(test))
