"""ONNX: a network as a file that onnxruntime and others run, and the check that it computes the same."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UsageError

TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest logit."""

Predict = Callable[[Tensor], Tensor]
"""Images (N, C, H, W), normalised → logits (N, classes)."""


def to_onnx(network: nn.Module, shape: tuple[int, int, int], metadata: Mapping[str, Any]) -> bytes:
    """The network as an ONNX model: ``images`` (batch, C, H, W) → ``logits`` (batch, classes), any batch.

    Args:
        network: in evaluation mode, on the CPU.
        shape: (C, H, W) of one image.
        metadata: stored in the model's ``metadata_props``, each value as JSON.

    Raises:
        UsageError: an operation that ONNX does not have.
    """
    batch = torch.export.Dim("batch")
    try:
        with quiet():
            program = torch.onnx.export(
                network,
                (torch.zeros(2, *shape),),
                input_names=["images"],
                output_names=["logits"],
                dynamic_shapes=({0: batch},),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise UsageError(f"ONNX cannot hold this network: {str(error.__cause__ or error).splitlines()[0]}") from error
    assert program is not None
    model = program.model_proto
    for node in model.graph.node:
        del node.metadata_props[:]  # the exporter's stack traces
    del model.metadata_props[:]
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=json.dumps(value))
    return bytes(model.SerializeToString())


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the converters' talk, which is to their own developers."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def predictor(model: bytes) -> Predict:
    """Runs a model by onnxruntime on the CPU, with as many threads as torch has now.

    Raises:
        UsageError: onnxruntime refuses the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no other base
        raise UsageError(f"onnxruntime refuses the model: {str(error).splitlines()[0]}") from error

    def predict(images: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"images": images.contiguous().numpy()})
        return torch.from_numpy(logits)

    return predict


@dataclass(frozen=True)
class Agreement:
    """How close two networks' logits are on some images.

    Args:
        difference: largest |difference| of a logit.
        largest: largest |logit| of the first network.
        same: share of images with the same prediction.
        images: how many were compared.
    """

    difference: float
    largest: float
    same: float
    images: int


@torch.no_grad()
def compare(one: Predict, other: Predict, batches: Sequence[Tensor]) -> Agreement:
    """The logits of two networks on batches of normalised images, which may differ in size."""
    pairs = [(one(images), other(images)) for images in batches]
    first, second = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    same = (first.argmax(1) == second.argmax(1)).double().mean()
    return Agreement(float((first - second).abs().max()), float(first.abs().max()), float(same), len(first))


def check(agreement: Agreement) -> None:
    """Raises UsageError where an exported model does not compute what the network does."""
    if not agreement.difference <= TOLERANCE * agreement.largest:
        raise UsageError(
            f"the exported model is wrong: its logits differ by up to {agreement.difference:.2g} of "
            f"{agreement.largest:.2g} on {agreement.images} images; nothing was written"
        )
