"""Runs of the code before the rebuild (fixtures/README.md): resumed, they end in the weights of an undisturbed run."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from nas.train import checkpoint

FIXTURES = Path(__file__).parent / "fixtures"
ROUNDING = 0.02
"""Largest difference on another processor, as a share of a tensor's largest value: rounding, grown over 30 steps."""


def weights_of(run: Path, command: str) -> dict[str, Tensor]:
    if command == "search":
        state = checkpoint.load(run / "checkpoint")
        assert state is not None
        parts: dict[str, Tensor] = state["parts"]["supernet"]
        return parts
    folder = run / "finals" / "arch-1M-s0" if command == "tune" else run
    return load_file(folder / "weights.safetensors")


@pytest.mark.parametrize("command", ["search", "retrain", "tune"])
def test_resumes_to_the_same_weights(command: str, nas: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    run = tmp_path / "begun"
    shutil.copytree(FIXTURES / "begun" / command, run)
    status, _, err = nas(command, "--resume", str(run))
    assert status == 0, err
    ours, theirs = weights_of(run, command), load_file(FIXTURES / "expected" / f"{command}.safetensors")
    machine = {"torch": torch.__version__, "capability": torch.backends.cpu.get_cpu_capability()}
    same = machine == json.loads((FIXTURES / "expected" / "machine.json").read_text())
    assert ours.keys() == theirs.keys()
    for name, wanted in theirs.items():
        tolerance = 0.0 if same else ROUNDING * float(wanted.abs().max())
        torch.testing.assert_close(ours[name], wanted, rtol=0, atol=tolerance, msg=name)
