"""Core ML: a network as a folder .mlpackage; converted anywhere, run on macOS alone."""

import platform
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UsageError
from nas.exporting.model import Model, Shape, one_by_one, quiet


def coreml_model(network: nn.Module, shape: Shape, metadata: Mapping[str, Any]) -> Model:
    """The network for one image at a time, in 32 bits: ``images`` (1, C, H, W) → ``logits`` (1, classes).

    Raises:
        UsageError: an operation that Core ML does not have.
    """
    with quiet(), torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        import coremltools

        traced = torch.jit.trace(network, torch.zeros(1, *shape))
        try:
            model = coremltools.convert(
                traced,
                inputs=[coremltools.TensorType("images", (1, *shape))],
                outputs=[coremltools.TensorType("logits")],
                compute_precision=coremltools.precision.FLOAT32,
            )
        except (RuntimeError, ValueError, NotImplementedError) as error:
            raise UsageError(f"Core ML cannot hold this network: {str(error).splitlines()[0]}") from error
        package = Path(folder) / "model.mlpackage"
        model.save(str(package))
        files = {str(file.relative_to(folder)): file.read_bytes() for file in package.rglob("*") if file.is_file()}

    def predict(image: Tensor) -> Tensor:
        return torch.from_numpy(model.predict({"images": image.numpy()})["logits"])

    return Model(files, one_by_one(predict) if platform.system() == "Darwin" else None)
