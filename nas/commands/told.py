"""What settings.json remembers of a command, and the checks before a run folder is made."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from nas import data, plugins
from nas.errors import UsageError
from nas.execution import Execution
from nas.settings import SearchSettings, TrainSettings, plain


def check_data(settings: SearchSettings | TrainSettings, execution: Execution) -> tuple[tuple[int, int, int], int]:
    """Shape of an image and number of classes; a mistake is found before a run folder is made.

    Raises:
        UsageError: data that cannot be used, or fewer images than the settings need.
    """
    dataset = data.load(settings.data, root=execution.data_root, image_size=settings.image_size)
    images = len(dataset.limited(settings.limit, settings.seed).train)
    held_out = images // 2 if isinstance(settings, SearchSettings) else settings.validation
    if settings.batch > images - held_out:
        raise UsageError(
            f"--batch {settings.batch} is larger than the {max(0, images - held_out)} images left to train on"
        )
    return dataset.shape, len(dataset.classes)


def tell(
    command: str,
    settings: SearchSettings | TrainSettings,
    preset: str,
    seeds: Sequence[int] | None,
    ops: Path | None,
    execution: Execution,
) -> dict[str, Any]:
    """What settings.json remembers of a command.

    Raises:
        UsageError: seeds, device, threads or a file of operations that cannot be used.
    """
    told: dict[str, Any] = {"command": command, "settings": plain(settings), "execution": described(execution)}
    told |= {"preset": preset, "ops": plugins.register(ops) if ops else None}
    if seeds is None:
        return told
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"--seeds {','.join(map(str, seeds))}: name at least one, each once")
    return {**told, "seeds": list(seeds)}


def described(execution: Execution) -> dict[str, Any]:
    """How a run is executed: the actual device and threads; on a cluster those asked for, one thread by default."""
    root = str(execution.data_root.resolve()) if execution.data_root else None
    if execution.cluster:
        asked = {"workers": execution.workers, "storage": execution.storage}
        return {"device": execution.device, "threads": execution.threads or 1, "data_root": root, **asked}
    device = execution.start()
    return {"device": device, "threads": torch.get_num_threads(), "data_root": root}


def label(command: str, subject: str, told: dict[str, Any]) -> str:
    """The name of a run's folder after its time: search-darts-s0."""
    seeds = told.get("seeds") or [told["settings"]["seed"]]
    return f"{command}-{subject}-s{'_'.join(map(str, seeds))}"
