"""ONNX: a network as a file that onnxruntime and others run."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UsageError
from nas.exporting.model import Model, Predict, Shape, quiet


def onnx_model(network: nn.Module, shape: Shape, metadata: Mapping[str, Any]) -> Model:
    """The network as ONNX, run by onnxruntime; errors as of its parts."""
    model = to_onnx(network, shape, metadata)
    return Model({"model.onnx": model}, predictor(model))


def to_onnx(network: nn.Module, shape: Shape, metadata: Mapping[str, Any]) -> bytes:
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
