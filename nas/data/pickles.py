"""The pickles of CIFAR's files, read without running code from them and in work bounded by their size."""

import io
import pickle
from typing import Any, ClassVar

import torch
from torch import Tensor


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


def load(content: bytes) -> Any:
    """What a pickle holds.

    Raises:
        Exception: of any kind, if it is damaged or names what CIFAR files do not.
    """
    return CifarUnpickler(content).load()
