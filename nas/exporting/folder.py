"""A trained network as one folder that ``nas.load`` turns into a module."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import UsageError
from nas.files import write, write_json

README = """# A trained network

    import nas
    network = nas.load("{name}")   # a torch.nn.Module in evaluation mode: images (N, {shape}) → logits (N, {classes})

Pixels in [0, 1] are normalised first: `(pixels - mean) / std` per channel, with the numbers of `preprocessing.json`,
which also holds the names of the classes. `architecture.json` says what the network is, `weights.safetensors` holds its
numbers. Nothing here is code.
"""


def write_folder(source: Path, target: Path, preprocessing: Mapping[str, Any]) -> None:
    """Copies a run's network into a new folder, written aside and renamed.

    Args:
        source: a folder with architecture.json and weights.safetensors.
        preprocessing: mean, std, classes, input.

    Raises:
        UsageError: the folder is there already, or cannot be written.
    """
    if target.exists():
        raise UsageError(f"{target} is there already: name another folder with --out")
    aside = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        for name in ("architecture.json", "weights.safetensors"):
            shutil.copy(source / name, aside / name)
        write_json(aside / "preprocessing.json", dict(preprocessing))
        shape = ", ".join(map(str, preprocessing["input"]))
        readme = README.format(name=target.name, shape=shape, classes=len(preprocessing["classes"]))
        write(aside / "README.md", readme)
        aside.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)
