"""A bit of trained weights that has flipped is named, and so is an exchanged file."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from nas.errors import UsageError
from nas.train.weights import digest_of, pack, read_weights, weights_of

TENSORS = {"b": torch.arange(6.0).reshape(2, 3), "a": torch.tensor(3), "c": torch.ones(2, dtype=torch.bfloat16)}


def test_every_flipped_bit_is_named_or_harmless(tmp_path: Path) -> None:
    path, (content, digest) = tmp_path / "weights.safetensors", pack(TENSORS)
    assert (content, digest) == pack(dict(reversed(TENSORS.items()))), "the same in any order"
    path.write_bytes(content)
    assert digest == digest_of(read_weights(path)) == digest_of(TENSORS)
    named = 0
    for bit in range(0, 8 * len(content), 7):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            assert digest_of(read_weights(path)) == digest, bit
        except UsageError:
            named += 1
    assert named > sum(tensor.nbytes for tensor in TENSORS.values())


def test_others_are_taken_as_they_are(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "weights.safetensors")
    assert weights_of(tmp_path).keys() == TENSORS.keys()


@pytest.mark.parametrize("name", ["architecture.json", "result.json", "weights.safetensors"])
def test_exchanged(name: str, tmp_path: Path) -> None:
    def write(number: int) -> dict[str, bytes]:
        weights, digest = pack({"a": torch.tensor(number)}, document := str(number).encode())
        result = json.dumps({"weights": digest}).encode()
        return {"architecture.json": document, "result.json": result, "weights.safetensors": weights}

    for file, content in write(1).items():
        (tmp_path / file).write_bytes(content)
    assert weights_of(tmp_path) == {"a": torch.tensor(1)}
    (tmp_path / name).write_bytes(write(2)[name])
    with pytest.raises(UsageError, match=r"weights\.safetensors is damaged, or not of the architecture\.json and"):
        weights_of(tmp_path)
