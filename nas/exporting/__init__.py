"""Trained networks in forms that run elsewhere: ONNX, ExecuTorch, ncnn, Core ML, 8 bits, a folder for ``nas.load``."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.costs.latency import Latency, by_turns
from nas.data.batches import Augmentation
from nas.data.dataset import Dataset
from nas.exporting.coreml import coreml_model
from nas.exporting.executorch import executorch_model, quantized_executorch
from nas.exporting.fold import folded
from nas.exporting.folder import write_folder, write_model
from nas.exporting.int8 import quantized_onnx, weight_bits
from nas.exporting.model import Agreement, Convert, Model, Predict, Quantize, check, compare
from nas.exporting.ncnn import ncnn_model
from nas.exporting.onnx import onnx_model
from nas.files import json_text
from nas.train.evaluate import evaluate
from nas.train.weights import PREPROCESSING

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


def checked(trained: Trained, convert: Convert) -> tuple[Model, Agreement | None]:
    """A float model, and how closely it agrees with the network on training images in batches of 1, 7 and 64.

    Raises:
        UsageError: it does not, or its form cannot hold the network.
    """
    model = convert(folded(trained.network), trained.dataset.shape, trained.preprocessing)
    if model.predict is None:
        return model, None
    images = trained.images(1 + 7 + 64)
    batches = [batch for batch in (images[:1], images[1:8], images[8:]) if len(batch)]
    agreement = compare(trained.network, model.predict, batches)
    check(agreement)
    return model, agreement


def write_float(name: str, convert: Convert, trained: Trained, out: Path) -> Export:
    """A float model that agrees with the network, where it can be run here."""
    model, agreement = checked(trained, convert)
    beside = {PREPROCESSING: json_text(trained.preprocessing).encode()}
    write_model({**model.files, **(beside if len(model.files) > 1 else {})}, out)
    return Export(str(out), {name: model.size}, agreement)


def write_int8(name: str, convert: Convert, quantize: Quantize, trained: Trained, out: Path) -> Export:
    """An 8-bit model, and what that costs and saves; reads the test set."""
    model, _ = checked(trained, convert)
    calibration = trained.images(CALIBRATION)
    small = quantize(folded(trained.network), model, calibration.split(64))
    assert model.predict and small.predict
    forms: dict[str, Predict] = {"torch": trained.network, name: model.predict, "int8": small.predict}
    test, augmentation = trained.dataset.test, trained.augmentation
    accuracy = {each: evaluate(form, test, augmentation)[1] for each, form in forms.items()}
    with torch.inference_mode():
        latency = by_turns(forms, trained.images(1), warmup=10, repeats=100)
    write_model(small.files, out)
    return Export(
        str(out),
        {name: model.size, "int8": small.size},
        test_accuracy=accuracy,
        latency=latency,
        calibration_images=len(calibration),
        weight_bits=weight_bits() if name == "onnx" else 8,
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
        convert: makes it of any network; None: it is more than a network.
        packages: that it needs beside nas's own, which ``extra`` installs.
        reads_test: whether it opens the test set.
    """

    name: str
    write: Callable[[Trained, Path], Export]
    convert: Convert | None = None
    packages: tuple[str, ...] = ()
    extra: str = "export"
    reads_test: bool = False


ONNX, EXECUTORCH = ("onnx", "onnxruntime", "onnxscript"), ("executorch", "torchao")
FORMS = {
    "onnx": Form("model.onnx", partial(write_float, "onnx", onnx_model), onnx_model, ONNX),
    "int8": Form(
        "model.int8.onnx", partial(write_int8, "onnx", onnx_model, quantized_onnx), None, ONNX, reads_test=True
    ),
    "executorch": Form(
        "model.pte", partial(write_float, "executorch", executorch_model), executorch_model, EXECUTORCH, "executorch"
    ),
    "executorch-int8": Form(
        "model.int8.pte",
        partial(write_int8, "executorch", executorch_model, quantized_executorch),
        None,
        EXECUTORCH,
        "executorch",
        reads_test=True,
    ),
    "ncnn": Form("model.ncnn", partial(write_float, "ncnn", ncnn_model), ncnn_model, ("pnnx", "ncnn"), "ncnn"),
    "coreml": Form(
        "model.coreml", partial(write_float, "coreml", coreml_model), coreml_model, ("coremltools",), "coreml"
    ),
    "torch": Form("model", write_torch),
}
