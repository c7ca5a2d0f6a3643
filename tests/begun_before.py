"""What the runs in fixtures/begun came to with the code that began them: a digest for each tensor, by machine."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.run.environment import environment
from nas.train import checkpoint

COMMANDS = ("search", "retrain", "tune")
EXPECTED = Path(__file__).parent / "fixtures" / "expected"


def machine() -> dict[str, Any]:
    """What the bits depend on; `compiler` as a search's kernels are compiled, or run without."""
    found = environment()
    return {
        "torch": torch.__version__,
        "capability": torch.backends.cpu.get_cpu_capability(),
        "processor": found.hardware.partition(",")[0],
        "compiler": found.compiler,
    }


def digests(run: Path, command: str) -> dict[str, str]:
    """Of each tensor of the weights of an ended run; of a tuning: of the trial it was stopped in, and of the final."""
    parts = {"tune": ("trials/arch-1M-tpe/0003/", "finals/arch-1M-s0/")}.get(command, ("",))
    found = {part + name: value for part in parts for name, value in _weights(run / part, command).items()}
    return {name: hashlib.sha256(value.numpy().tobytes()).hexdigest()[:8] for name, value in found.items()}


def recorded(command: str) -> dict[str, str] | None:
    """The digests of this machine; None: there are none."""
    records = [json.loads(path.read_text()) for path in sorted(EXPECTED.glob("*.json"))]
    ours = machine()
    return next((record[command] for record in records if record["machine"] == ours), None)


def _weights(run: Path, command: str) -> dict[str, Tensor]:
    if command != "search":
        return load_file(run / "weights.safetensors")
    state = checkpoint.load(run / "checkpoint")
    assert state is not None
    parts: dict[str, Tensor] = state.parts["supernet"]
    return parts


if __name__ == "__main__":
    runs = Path(sys.argv[1])
    print(
        json.dumps(
            {"machine": machine()} | {command: digests(runs / command, command) for command in COMMANDS}, indent=1
        )
    )
