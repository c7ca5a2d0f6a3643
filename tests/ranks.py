"""Ranks of a gloo group as processes of their own: ``SCRIPT RENDEZVOUS WORLD_SIZE OUT RANK WORDS…``."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

Results = dict[str, dict[str, Any]]
"""Tensors by name, of each thing that is computed."""


def several(script: ModuleType, world_size: int, folder: Path, *words: str) -> list[Results]:
    """What each rank computes; the script calls :func:`write`."""
    out, rendezvous = folder / "tensors", folder / "rendezvous"
    command = [sys.executable, str(script.__file__), str(rendezvous), str(world_size), str(out)]
    processes = [subprocess.Popen([*command, str(rank), *words], stderr=subprocess.PIPE) for rank in range(world_size)]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(world_size)]


def write(compute: Callable[[], Results]) -> None:
    """Writes what this rank computes."""
    rendezvous, world_size, out, rank = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=world_size)
    torch.save(compute(), f"{out}.{rank}")
    dist.destroy_process_group()


def assert_as_one(ranks: list[Results], one: Results) -> None:
    """Fails where a rank's tensors are not those of one process up to rounding, or not bit for bit the others'."""
    for name, tensors in one.items():
        assert tensors.keys() == ranks[0][name].keys()
        for key, value in tensors.items():
            torch.testing.assert_close(ranks[0][name][key], value, rtol=1e-9, atol=1e-9, msg=f"{name}: {key}")
            for other in ranks[1:]:
                assert torch.equal(other[name][key], ranks[0][name][key]), f"{name}: {key}: ranks differ"
