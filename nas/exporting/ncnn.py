"""ncnn: a network as the two files that its runtime on phones reads, made by pnnx from TorchScript."""

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.errors import UsageError
from nas.exporting.model import Model, Shape, one_by_one, quiet


def ncnn_model(network: nn.Module, shape: Shape, metadata: Mapping[str, Any]) -> Model:
    """The network for one image at a time, in 32 bits: blob ``in0`` (C, H, W) → ``out0`` (classes).

    Raises:
        UsageError: pnnx does not know an operation of it.
    """
    import pnnx

    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "model.pt"
        with quiet(), torch.no_grad():
            torch.jit.trace(network, torch.zeros(1, *shape)).save(str(script))
        words = [pnnx.EXEC_PATH, script.name, f"inputshape=[1,{','.join(map(str, shape))}]", "fp16=0"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        files = {name: Path(folder) / f"model.ncnn.{name}" for name in ("param", "bin")}
        if done.returncode or not all(file.is_file() for file in files.values()):
            raise UsageError(f"pnnx cannot convert this network: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
        model = {f"model.{name}": file.read_bytes() for name, file in files.items()}
        return Model(model, one_by_one(_runner(files["param"], files["bin"])))


def _runner(param: Path, weights: Path) -> Any:
    """The two files in ncnn's runtime: an image (1, C, H, W) → logits (1, classes)."""
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = torch.get_num_threads()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False  # as it is checked
    if net.load_param(str(param)) or net.load_model(str(weights)):
        raise UsageError("ncnn refuses the model that pnnx made")

    def predict(image: Tensor) -> Tensor:
        extractor = net.create_extractor()
        values = image[0].contiguous().numpy()  # a Mat only borrows its memory
        extractor.input("in0", ncnn.Mat(values).clone())
        _, logits = extractor.extract("out0")
        return torch.from_numpy(np.array(logits)).reshape(1, -1)

    return predict
