"""Images of one's own as one file of tensors, so that a run on them can be resumed and repeated."""

import json
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
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            classes = json.loads((file.metadata() or {})["classes"])
        splits = [Split(tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in PARTS]
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
        UsageError: images of other types or of several sizes, or labels that are no whole numbers from 0 on.
    """
    from safetensors.torch import save_file

    first = split_of(train)
    whole, rest = (first, split_of(test)) if test is not None else divided(first)
    count = int(max(whole.labels.max(), rest.labels.max())) + 1
    classes = [str(name) for name in getattr(train, "classes", range(count))]
    if len(classes) < count or min(int(whole.labels.min()), int(rest.labels.min())) < 0:
        raise UsageError(f"data: labels must be whole numbers from 0 to {len(classes) - 1}")
    if whole.images.shape[1:] != rest.images.shape[1:]:
        raise UsageError(f"data: images are {_size(whole.images[0])}, test images {_size(rest.images[0])}")
    path = folder / f"images-{_dataset('', classes, whole, rest).digest}.safetensors"
    tensors = {
        f"{part}.{name}": getattr(split, name).contiguous()
        for part, split in zip(PARTS, (whole, rest), strict=True)
        for name in ("images", "labels")
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not path.is_file():
            aside = path.with_suffix(".part")
            save_file(tensors, aside, {"classes": json.dumps(classes)})
            aside.replace(path)
    except OSError as error:
        raise UsageError(f"data: images cannot be kept in {folder}: {error.strerror or error}") from None
    return path


def split_of(given: Any) -> Split:
    """Images and labels of a torch Dataset or of a pair of tensors; see :func:`pack`."""
    if isinstance(given, tuple | list) and len(given) == 2 and isinstance(given[0], Tensor):
        images, labels = _coloured(_bytes(given[0], "images")), torch.as_tensor(given[1])
    else:
        pairs = [(_image(image, f"image {index}"), label) for index, (image, label) in enumerate(_items(given))]
        if odd := [index for index, (image, _) in enumerate(pairs) if image.shape != pairs[0][0].shape]:
            raise UsageError(f"data: image 0 is {_size(pairs[0][0])}, image {odd[0]} {_size(pairs[odd[0]][0])}")
        images, labels = torch.stack([image for image, _ in pairs]), torch.tensor([int(label) for _, label in pairs])
    if images.dim() != 4 or labels.dim() != 1 or len(images) != len(labels) or labels.is_floating_point():
        raise UsageError(
            f"data: images {tuple(images.shape)} and labels {tuple(labels.shape)} are no (n, 3, H, W), (n,)"
        )
    return Split(images, labels.long())


def _items(given: Any) -> Any:
    if not hasattr(given, "__getitem__") or not hasattr(given, "__len__") or not len(given):
        raise UsageError("data: it must be a torch Dataset, or images and labels as tensors, and not empty")
    return (given[index] for index in range(len(given)))


def _image(image: Any, what: str) -> Tensor:
    """(3, H, W) of bytes: of a PIL image, or of a tensor."""
    if isinstance(image, Tensor):
        return _coloured(_bytes(image, what))
    if not hasattr(image, "convert"):
        raise UsageError(f"data: {what} is a {type(image).__name__}, and must be a PIL image or a tensor")
    return torch.from_numpy(np.asarray(image.convert("RGB")).copy()).permute(2, 0, 1)


def _bytes(images: Tensor, what: str) -> Tensor:
    """Bytes as they are; numbers from 0 to 1, as torchvision's ToTensor makes of bytes, as these bytes again."""
    if images.dtype == torch.uint8:
        return images
    if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
        raise UsageError(f"data: {what}: {images.dtype} must be uint8, or numbers from 0 to 1: not normalised")
    return (images * 255).round().to(torch.uint8)


def _coloured(images: Tensor) -> Tensor:
    """Grey thrice."""
    return images.repeat_interleave(3, -3) if images.dim() > 2 and images.shape[-3] == 1 else images


def _size(image: Tensor) -> str:
    return "×".join(map(str, image.shape))


def divided(split: Split) -> tuple[Split, Split]:
    """Four fifths and a fifth, always the same ones, class by class."""
    from sklearn.model_selection import train_test_split

    labels = split.labels.numpy()
    try:
        parts = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=0, stratify=labels)
    except ValueError as error:
        raise UsageError(f"data: no test images can be drawn class by class: {error}") from None
    train, test = (split.take(torch.from_numpy(rows)) for rows in parts)
    return train, test
