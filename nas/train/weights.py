"""Trained weights as a safetensors file that bears their digest, so that a damaged or exchanged one is named."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from nas.errors import UsageError
from nas.run import names
from nas.run.documents import read
from nas.run.folder import Run
from nas.run.results import WeightsDigest

DIGEST = "sha256"
"""Key of the file's metadata."""
PREPROCESSING = "preprocessing.json"
"""Of an exported folder: what is done to images, and the digest of the weights."""


def pack(tensors: Mapping[str, Tensor], document: bytes = b"") -> tuple[bytes, str]:
    """(A safetensors file, the digest in it) of tensors and of the document that says what network they are of."""
    from safetensors.torch import save

    own = {name: tensor.detach().contiguous().cpu() for name, tensor in tensors.items()}
    digest = digest_of(own, document)
    return save(own, {DIGEST: digest}), digest


def digest_of(tensors: Mapping[str, Tensor], document: bytes = b"") -> str:
    """The SHA-256 of names, types, shapes and bits of tensors on the CPU, and of a document."""
    digest = hashlib.sha256(document)
    for name, tensor in sorted(tensors.items()):
        digest.update(json.dumps([name, str(tensor.dtype), list(tensor.shape)]).encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read_weights(path: Path, document: bytes = b"", expected: str = "") -> dict[str, Tensor]:
    """The tensors of a safetensors file; one written before there were digests, or by others, is taken as it is.

    Args:
        document: as of :func:`pack`.
        expected: digest that the file must have; empty: any.

    Raises:
        UsageError: it is not there, damaged, or of another network.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise UsageError(f"{path} is not there: has this training finished?")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            digest = (file.metadata() or {}).get(DIGEST, "")
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read: {(str(error).splitlines() or ['damaged'])[0]}") from None
    if (digest and digest != digest_of(tensors, document)) or (expected and digest != expected):
        beside = f", or not of the {names.ARCHITECTURE} and {names.RESULT} beside it" if document else ""
        raise UsageError(f"{path} is damaged{beside}: its digest is another one")
    return tensors


def weights_of(folder: Path) -> dict[str, Tensor]:
    """The trained weights in a run folder or an exported one; errors as of :func:`read_weights`."""
    document = folder / names.ARCHITECTURE
    content = document.read_bytes() if document.is_file() else b""
    return read_weights(folder / names.WEIGHTS, content, expected_digest(folder))


def expected_digest(folder: Path) -> str:
    """The digest that the trained weights in a run folder or an exported one must have; empty: any."""
    run, exported = Run(folder), folder / PREPROCESSING
    if run.finished:
        return run.result(WeightsDigest).weights
    return read(exported, WeightsDigest).weights if exported.is_file() else ""
