"""INT8: weights and activations of an ONNX model as 8-bit whole numbers, calibrated on training images."""

import platform
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.exporting.model import Model, quiet
from nas.exporting.onnx import predictor


def weight_bits() -> int:
    """8, but 7 on x86 processors without 8-bit dot products (VNNI), whose 16-bit sums of 8-bit products saturate."""
    saturates = platform.machine().lower() in ("x86_64", "amd64") and not torch.cpu._is_vnni_supported()
    return 7 if saturates else 8


def quantized_onnx(network: nn.Module, model: Model, calibration: Sequence[Tensor]) -> Model:
    """A float ONNX model in 8 bits, see :func:`quantize`."""
    small = quantize(model.files["model.onnx"], calibration)
    return Model({"model.onnx": small}, predictor(small))


def quantize(model: bytes, calibration: Sequence[Tensor]) -> bytes:
    """Post-training static quantization (Jacob et al., CVPR 2018): int8 weights per channel, uint8 activations.

    Weights take as many of the bits as :func:`weight_bits` says. An activation's range is from the smallest to the
    largest value seen in calibration. In ONNX's QDQ form: pairs of QuantizeLinear and DequantizeLinear around each
    operation, which onnxruntime turns into integer arithmetic.

    Args:
        model: a float model as of :func:`nas.exporting.onnx.to_onnx`.
        calibration: batches of normalised training images.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.batches = iter(calibration)

        def get_next(self) -> dict[str, Any] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch.contiguous().numpy()}

    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / "int8.onnx"
        quantize_static(
            onnx.load_from_string(model),
            path,
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            reduce_range=weight_bits() == 7,
        )
        return path.read_bytes()
