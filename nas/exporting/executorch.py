"""ExecuTorch: a network as a .pte file for phones, its operations lowered to XNNPACK, in floats or in 8 bits."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UsageError
from nas.exporting.model import Model, Shape, one_by_one, quiet


def executorch_model(network: nn.Module, shape: Shape, metadata: Mapping[str, Any]) -> Model:
    """The network for one image at a time, run by ExecuTorch's own runtime.

    Its method ``preprocessing`` returns the metadata as JSON.

    Raises:
        UsageError: an operation that ExecuTorch does not have.
    """
    try:
        with quiet():
            from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
            from executorch.exir import to_edge_transform_and_lower

            program = torch.export.export(network, (torch.zeros(1, *shape),))
            lowered = to_edge_transform_and_lower(
                program,
                partitioner=[XnnpackPartitioner()],
                constant_methods={"preprocessing": json.dumps(dict(metadata))},
            )
            pte = bytes(lowered.to_executorch().buffer)
    except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
        raise UsageError(f"ExecuTorch cannot hold this network: {str(error).splitlines()[0]}") from error
    return Model({"model.pte": pte}, one_by_one(Runner(pte)))


def quantized_executorch(network: nn.Module, model: Model, calibration: Sequence[Tensor]) -> Model:
    """The network in 8 bits: torchao's PT2E with XNNPACK's quantizer, weights symmetric per channel.

    Activations are quantized with the ranges seen in calibration.
    """
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    shape = calibration[0].shape[1:]
    quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    with quiet(), torch.no_grad():
        graph = torch.export.export(network, (torch.zeros(1, *shape),)).module()
        observed = prepare_pt2e(graph, quantizer)
        for images in calibration:
            for image in images:
                observed(image[None])
        small = convert_pt2e(observed)
    metadata = Runner(model.files["model.pte"]).metadata
    return executorch_model(small, (shape[0], shape[1], shape[2]), metadata)


class Runner:
    """A .pte file in ExecuTorch's runtime: an image (1, C, H, W) → logits (1, classes)."""

    def __init__(self, pte: bytes) -> None:
        from executorch.runtime import Runtime

        self._program = Runtime.get().load_program(pte)
        self._forward = self._program.load_method("forward")

    @property
    def metadata(self) -> dict[str, Any]:
        """What a user must know."""
        (text,) = self._program.load_method("preprocessing").execute([])
        known: dict[str, Any] = json.loads(text)
        return known

    def __call__(self, image: Tensor) -> Tensor:
        (logits,) = self._forward.execute([image.contiguous()])
        owned: Tensor = logits.clone()
        return owned
