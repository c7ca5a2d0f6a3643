"""Models as files and folders; a trained network as one folder that ``nas.load`` turns into a module."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nas.errors import UsageError
from nas.files import json_text, write
from nas.train.weights import PREPROCESSING, expected_digest

README = """# A trained network

    import nas
    network = nas.load("{name}")   # a torch.nn.Module in evaluation mode: images (N, {shape}) → logits (N, {classes})

Pixels in [0, 1] are normalised first: `(pixels - mean) / std` per channel, with the numbers of `preprocessing.json`,
which also holds the names of the classes and the digest of the weights. `architecture.json` says what the network is,
`weights.safetensors` holds its numbers. Nothing here is code.
"""


def write_folder(source: Path, target: Path, preprocessing: Mapping[str, Any]) -> None:
    """Copies a run's network into a new folder.

    Args:
        source: a folder with architecture.json and weights.safetensors.
        preprocessing: mean, std, classes, input.

    Raises:
        UsageError: as :func:`write_model`.
    """
    shape = ", ".join(map(str, preprocessing["input"]))
    readme = README.format(name=target.name, shape=shape, classes=len(preprocessing["classes"]))
    files = {name: (source / name).read_bytes() for name in ("architecture.json", "weights.safetensors")}
    described = json_text({**preprocessing, "weights": expected_digest(source)})
    files |= {PREPROCESSING: described.encode(), "README.md": readme.encode()}
    write_model(files, target)


def write_model(files: Mapping[str, bytes], target: Path) -> None:
    """Writes one file, or several as a new folder, aside and renamed; where they are already, nothing.

    Raises:
        UsageError: there is something else, or it cannot be written.
    """
    if len(files) == 1:
        write(target, *files.values())
        return
    if contents(target) == files:
        return
    if target.exists():
        raise UsageError(f"{target} is there already, with something else: name another folder with --out")
    aside = target.with_name(f".{target.name}.part")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        for name, content in files.items():
            (aside / name).parent.mkdir(parents=True, exist_ok=True)
            write(aside / name, content)
        aside.replace(target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def contents(folder: Path) -> dict[str, bytes]:
    """Each file below a folder, by its place in it; of what is no folder none."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
