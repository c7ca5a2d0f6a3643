"""CIFAR-10 and CIFAR-100 from their official python layout."""

import hashlib
import warnings
from pathlib import Path
from typing import Any

import torch

from nas.data import pickles
from nas.data.dataset import Dataset, Split
from nas.errors import UsageError

LAYOUT: dict[str, dict[str, Any]] = {
    "cifar10": {
        "folder": "cifar-10-batches-py",
        "train": [f"data_batch_{number}" for number in range(1, 6)],
        "test": ["test_batch"],
        "meta": ("batches.meta", b"label_names"),
        "labels": b"labels",
    },
    "cifar100": {
        "folder": "cifar-100-python",
        "train": ["train"],
        "test": ["test"],
        "meta": ("meta", b"fine_label_names"),
        "labels": b"fine_labels",
    },
}
MEAN_STD = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}


def load(name: str, root: Path) -> Dataset:
    """Reads ``root/cifar-10-batches-py`` (or cifar-100-python); torchvision downloads it when it is not there.

    Raises:
        UsageError: absent and no network, a missing or damaged file.
    """
    layout, folder = LAYOUT[name], folder_of(name, root)
    if not folder.is_dir():
        _download(name, root)
    official = _check(name, folder)
    meta_file, key = layout["meta"]
    classes = _unpickle(folder / meta_file).get(key)
    if not isinstance(classes, list) or not all(isinstance(label, bytes | str) for label in classes):
        raise UsageError(f"data: {folder / meta_file} does not hold the classes' names")
    train, test = (_split(folder, layout[part], layout["labels"], len(classes)) for part in ("train", "test"))
    mean, std = MEAN_STD[name]
    return Dataset(name, tuple(map(_text, classes)), train, test, mean, std, official=official)


def folder_of(name: str, root: Path) -> Path:
    """The files' own folder in ``root``, which may be that folder itself."""
    folder: str = LAYOUT[name]["folder"]
    return root if root.name == folder else root / folder


def _download(name: str, root: Path) -> None:
    from torchvision import datasets

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        root.mkdir(parents=True, exist_ok=True)
        kind(str(root), download=True)
    except (OSError, RuntimeError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(
            f"data {name} is not in {root} and could not be downloaded ({said}); "
            "give its folder by --data-root or NAS_DATA"
        ) from None


def _check(name: str, folder: Path) -> bool:
    """Whether the files are the official ones; else it warns, and they are read all the same."""
    from torchvision import datasets

    official = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    sums = dict([*official.train_list, *official.test_list])
    wrong = [file for file, md5 in sums.items() if (folder / file).is_file() and _md5(folder / file) != md5]
    if wrong:
        warnings.warn(f"data {name}: {len(wrong)} files in {folder} differ from the official MD5 sums", stacklevel=2)
    return not wrong


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _unpickle(path: Path) -> dict[bytes, Any]:
    try:
        record = pickles.load(path.read_bytes())
    except FileNotFoundError:
        raise UsageError(f"data: {path} is missing") from None
    except Exception as error:  # a damaged pickle raises anything
        said = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(f"data: {path} is damaged or not a CIFAR file: {said}") from None
    if not isinstance(record, dict):
        raise UsageError(f"data: {path} is not a CIFAR file: it holds no table")
    return record


def _split(folder: Path, files: list[str], key: bytes, classes: int) -> Split:
    images, labels = [], []
    for file in files:
        record = _unpickle(folder / file)
        pixels, targets = record.get(b"data"), record.get(key)
        data = pixels.images() if isinstance(pixels, pickles.Pixels) else None
        if data is None:
            raise UsageError(f"data: {folder / file} does not hold images of 3,072 bytes")
        if not isinstance(targets, list) or len(targets) != len(data):
            raise UsageError(f"data: {folder / file} does not hold a label for each image")
        if not all(isinstance(target, int) and 0 <= target < classes for target in targets):
            raise UsageError(f"data: {folder / file} has labels outside 0 to {classes - 1}")
        images.append(data.view(-1, 3, 32, 32))
        labels += targets
    return Split(torch.cat(images), torch.tensor(labels))


def _text(label: bytes | str) -> str:
    return label.decode(errors="replace") if isinstance(label, bytes) else label
