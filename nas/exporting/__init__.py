"""Trained networks in forms that run elsewhere: ONNX, ONNX in 8 bits, a folder for ``nas.load``."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.costs.latency import by_turns
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset
from nas.exporting.fold import folded
from nas.exporting.folder import write_folder
from nas.exporting.int8 import quantize
from nas.exporting.onnx import Predict, check, compare, predictor, to_onnx
from nas.files import write
from nas.train.evaluate import evaluate

CALIBRATION = 512
"""Training images that calibrate an 8-bit model."""


@dataclass(frozen=True)
class Trained:
    """What an export starts from.

    Args:
        folder: holds architecture.json and weights.safetensors.
        network: in evaluation mode, on the CPU.
        dataset: what it was trained on.
        seed: of its training; the images that a check or a calibration draws are among those it was trained on.
    """

    folder: Path
    network: nn.Module
    dataset: Dataset
    seed: int

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What a user must know: input shape, mean and deviation of pixels in [0, 1], names of the classes."""
        data = self.dataset
        told = {"mean": list(data.mean), "std": list(data.std), "classes": list(data.classes)}
        return {"input": list(data.shape), **told}

    @cached_property
    def augmentation(self) -> Augmentation:
        """Normalises images as the training did."""
        return Augmentation.of(self.dataset, cutout=False, device="cpu")

    def images(self, count: int) -> Tensor:
        """At most so many normalised training images, (N, 3, H, W)."""
        return self.augmentation.normalise(self.dataset.limited(count, self.seed).train.images[:count])


def write_onnx(trained: Trained, out: Path) -> dict[str, Any]:
    """A float model in one file, which agrees with the network on training images in batches of 1, 7 and 64."""
    model, agreement = checked_onnx(trained)
    write(out, model)
    return {"file": str(out), "bytes": len(model), **agreement}


def checked_onnx(trained: Trained) -> tuple[bytes, dict[str, Any]]:
    """An ONNX model and how closely it agrees with the network.

    Raises:
        UsageError: it does not, or ONNX cannot hold the network.
    """
    model = to_onnx(folded(trained.network), trained.dataset.shape, trained.preprocessing)
    images = trained.images(1 + 7 + 64)
    batches = [batch for batch in (images[:1], images[1:8], images[8:]) if len(batch)]
    agreement = compare(trained.network, predictor(model), batches)
    check(agreement)
    return model, asdict(agreement)


def write_int8(trained: Trained, out: Path) -> dict[str, Any]:
    """An 8-bit model in one file, and what that costs and saves; reads the test set."""
    model, _ = checked_onnx(trained)
    small = quantize(model, trained.images(CALIBRATION).split(64))
    ways: dict[str, Predict] = {"torch": trained.network, "onnx": predictor(model), "int8": predictor(small)}
    result = {
        "file": str(out),
        "bytes": {"onnx": len(model), "int8": len(small)},
        "test_accuracy": {
            name: evaluate(way, trained.dataset.test, trained.augmentation)[1] for name, way in ways.items()
        },
        "calibration_images": len(trained.images(CALIBRATION)),
    }
    with torch.inference_mode():
        latency = by_turns(ways, trained.images(1), warmup=10, repeats=100)
    write(out, small)
    return {**result, "latency": {name: taken.document() for name, taken in latency.items()}}


def write_torch(trained: Trained, out: Path) -> dict[str, Any]:
    """A folder for ``nas.load``."""
    write_folder(trained.folder, out, trained.preprocessing)
    return {"file": str(out), "bytes": sum(file.stat().st_size for file in out.iterdir())}


@dataclass(frozen=True)
class Form:
    """One thing that ``nas export`` makes.

    Args:
        name: what it is called inside its run folder.
        write: makes it; its result is what the command prints.
        packages: that it needs beside nas's own.
        reads_test: whether it opens the test set.
    """

    name: str
    write: Callable[[Trained, Path], dict[str, Any]]
    packages: tuple[str, ...] = ()
    reads_test: bool = False


FORMS = {
    "onnx": Form("model.onnx", write_onnx, ("onnx", "onnxruntime", "onnxscript")),
    "int8": Form("model.int8.onnx", write_int8, ("onnx", "onnxruntime", "onnxscript"), reads_test=True),
    "torch": Form("model", write_torch),
}
