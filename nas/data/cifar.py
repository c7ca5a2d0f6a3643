"""CIFAR-10 and CIFAR-100 from their official python layout, read without running code from the files."""

import hashlib
import io
import pickle
import warnings
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

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


class Memo(dict[int, Any]):
    """What a pickle refers to again; a container in two places of the next one, and so on, takes for ever to hash."""

    def __getitem__(self, key: int) -> Any:
        value = super().__getitem__(key)
        if isinstance(value, tuple | list | dict | set | frozenset):
            raise pickle.UnpicklingError("it has one container in two places, which CIFAR files do not")
        return value


class Dtype:
    """In the place of numpy's, of its name."""

    def __init__(self, name: Any = "", *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        """Nothing of a byte's type is in it."""


class Pixels:
    """In the place of numpy's array, whose own reading of a damaged state ends the process."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def images(self) -> Tensor | None:
        """(N, 3072), uint8; None: it holds none, or something else."""
        match self.state:
            case (1, (int() as count, 3072), Dtype(name=b"u1" | "u1"), False, bytes() as content):
                if content and len(content) == count * 3072:
                    return torch.frombuffer(bytearray(content), dtype=torch.uint8).view(count, 3072)
        return None


def reconstruct(*_: Any) -> Pixels:
    """What numpy begins an array with."""
    return Pixels()


def encode(text: str, encoding: str) -> bytes:
    """Bytes as Python 3 writes them for Python 2."""
    if encoding != "latin1":
        raise pickle.UnpicklingError("it holds bytes in an encoding that CIFAR files do not have")
    return text.encode(encoding)


class CifarUnpickler(pickle._Unpickler):
    """Reads the state of numpy arrays of bytes and nothing else: any other class or function in the file is refused.

    It is Python's own in Python, whose work can be bounded: what is built is no larger than the file.
    """

    dispatch: ClassVar = {code: load for code, load in pickle._Unpickler.dispatch.items() if code != pickle.DUP[0]}
    ALLOWED: ClassVar[dict[str, Any]] = {
        "numpy.ndarray": Pixels,
        "numpy.dtype": Dtype,
        "multiarray._reconstruct": reconstruct,
        "_codecs.encode": encode,
    }

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self.memo = Memo()

    def find_class(self, module: str, name: str) -> Any:
        short = "multiarray" if module.endswith("multiarray") and module.startswith("numpy.") else module
        if f"{short}.{name}" not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which CIFAR files do not")
        return self.ALLOWED[f"{short}.{name}"]


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
        record = CifarUnpickler(path.read_bytes()).load()
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
        data = pixels.images() if isinstance(pixels, Pixels) else None
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
