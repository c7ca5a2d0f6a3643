"""Trained networks in forms that run elsewhere: ONNX, ONNX in 8 bits, a folder for ``nas.load``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.costs.latency import Latency, by_turns
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset
from nas.exporting.fold import folded
from nas.exporting.folder import write_folder
from nas.exporting.int8 import quantize, weight_bits
from nas.exporting.onnx import Agreement, Predict, check, compare, predictor, to_onnx
from nas.files import write
from nas.train.evaluate import evaluate

CALIBRATION = 512
"""Training images that calibrate an 8-bit model."""


@dataclass(frozen=True)
class Export:
    """A written export, and what was checked or measured of it.

    Args:
        file: what was written.
        bytes: its size, and of an 8-bit model the float one's too, by form.
        agreement: with the network.
        test_accuracy, latency: of the network and its models, by form.
        calibration_images, weight_bits: that an 8-bit model was calibrated on; of its weights' range.
        test_openings: how often the test set has been read, where this export read it.
    """

    file: str
    bytes: dict[str, int]
    agreement: Agreement | None = None
    test_accuracy: dict[str, float] | None = None
    latency: dict[str, Latency] | None = None
    calibration_images: int | None = None
    weight_bits: int | None = None
    test_openings: int | None = None


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
        normalisation = {"mean": list(data.mean), "std": list(data.std)}
        return {"input": list(data.shape), **normalisation, "classes": list(data.classes)}

    @cached_property
    def augmentation(self) -> Augmentation:
        """Normalises images as the training did."""
        return Augmentation.of(self.dataset, cutout=False, device="cpu")

    def images(self, count: int) -> Tensor:
        """At most so many normalised training images, (N, 3, H, W)."""
        return self.augmentation.normalise(self.dataset.limited(count, self.seed).train.images[:count])


def write_onnx(trained: Trained, out: Path) -> Export:
    """A float model in one file, which agrees with the network on training images in batches of 1, 7 and 64."""
    model, agreement = checked_onnx(trained)
    write(out, model)
    return Export(str(out), {"onnx": len(model)}, agreement)


def checked_onnx(trained: Trained) -> tuple[bytes, Agreement]:
    """An ONNX model and how closely it agrees with the network.

    Raises:
        UsageError: it does not, or ONNX cannot hold the network.
    """
    model = to_onnx(folded(trained.network), trained.dataset.shape, trained.preprocessing)
    images = trained.images(1 + 7 + 64)
    batches = [batch for batch in (images[:1], images[1:8], images[8:]) if len(batch)]
    agreement = compare(trained.network, predictor(model), batches)
    check(agreement)
    return model, agreement


def write_int8(trained: Trained, out: Path) -> Export:
    """An 8-bit model in one file, and what that costs and saves; reads the test set."""
    model, _ = checked_onnx(trained)
    calibration = trained.images(CALIBRATION)
    small = quantize(model, calibration.split(64))
    forms: dict[str, Predict] = {"torch": trained.network, "onnx": predictor(model), "int8": predictor(small)}
    test, augmentation = trained.dataset.test, trained.augmentation
    accuracy = {name: evaluate(form, test, augmentation)[1] for name, form in forms.items()}
    with torch.inference_mode():
        latency = by_turns(forms, trained.images(1), warmup=10, repeats=100)
    write(out, small)
    return Export(
        str(out),
        {"onnx": len(model), "int8": len(small)},
        test_accuracy=accuracy,
        latency=latency,
        calibration_images=len(calibration),
        weight_bits=weight_bits(),
    )


def write_torch(trained: Trained, out: Path) -> Export:
    """A folder for ``nas.load``."""
    write_folder(trained.folder, out, trained.preprocessing)
    return Export(str(out), {"torch": sum(file.stat().st_size for file in out.iterdir())})


@dataclass(frozen=True)
class Form:
    """One thing that ``nas export`` makes.

    Args:
        name: what it is called inside its run folder.
        write: makes it.
        packages: that it needs beside nas's own.
        reads_test: whether it opens the test set.
    """

    name: str
    write: Callable[[Trained, Path], Export]
    packages: tuple[str, ...] = ()
    reads_test: bool = False


FORMS = {
    "onnx": Form("model.onnx", write_onnx, ("onnx", "onnxruntime", "onnxscript")),
    "int8": Form("model.int8.onnx", write_int8, ("onnx", "onnxruntime", "onnxscript"), reads_test=True),
    "torch": Form("model", write_torch),
}
