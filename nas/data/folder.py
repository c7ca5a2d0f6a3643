"""Image folders, ``train/CLASS/*.png`` and ``test/CLASS/*.png``: decoded once into a memory-mapped file of bytes."""

import hashlib
import json
from pathlib import Path

import torch
from torch import Tensor

from nas.data.dataset import Dataset, Split, statistics
from nas.errors import UsageError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff"}


def load(root: Path, image_size: int | None, cache: Path) -> Dataset:
    """Reads a folder; images are made square of side ``image_size`` (default: the first image's shorter side).

    Raises:
        UsageError: no such layout, an unreadable image, classes that differ between train and test.
    """
    for part in ("train", "test"):
        if not (root / part).is_dir():
            raise UsageError(f"data {root}: an image folder has train/CLASS/ and test/CLASS/; {part}/ is missing")
    classes = sorted(entry.name for entry in (root / "train").iterdir() if entry.is_dir())
    files = {part: _files(root / part, classes) for part in ("train", "test")}
    if not files["train"] or not files["test"]:
        raise UsageError(f"data {root}: no images ({', '.join(sorted(SUFFIXES))}) found in train/CLASS and test/CLASS")
    size = image_size or min(_size(files["train"][0][0]))
    splits = {part: _split(entries, size, cache) for part, entries in files.items()}
    mean, std = statistics(splits["train"].images)
    padding = max(1, size // 8)
    return Dataset(str(root), tuple(classes), splits["train"], splits["test"], mean, std, padding=padding)


def _files(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    folders = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
    if unknown := [name for name in folders if name not in classes]:
        raise UsageError(f"data {folder}: class {unknown[0]} is not in train/")
    return [
        (path, label)
        for label, name in enumerate(classes)
        for path in sorted((folder / name).glob("*"))
        if path.suffix.lower() in SUFFIXES
    ]


def _size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, Image.DecompressionBombError) as error:
        raise UsageError(f"data: {path} is not a readable image: {error}") from None


def _split(entries: list[tuple[Path, int]], size: int, cache: Path) -> Split:
    described = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path, _ in entries]
    key = hashlib.sha256(json.dumps([size, described]).encode()).hexdigest()[:16]
    path = cache / "folders" / f"{key}.u8"
    shape = (len(entries), 3, size, size)
    if not path.is_file():
        _decode(entries, shape, path)
    images = torch.from_file(str(path), shared=False, size=torch.Size(shape).numel(), dtype=torch.uint8).view(shape)
    return Split(images, torch.tensor([label for _, label in entries]))


def _decode(entries: list[tuple[Path, int]], shape: tuple[int, ...], path: Path) -> None:
    aside = path.with_suffix(".part")
    try:
        aside.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as out:
            for source, _ in entries:
                out.write(_pixels(source, shape[-1]).numpy().tobytes())
        aside.replace(path)
    except OSError as error:
        raise UsageError(f"data: decoded images cannot be kept in {path.parent}: {error}") from None


def _pixels(path: Path, size: int) -> Tensor:
    """The centre square of an image, resized: uint8 (3, size, size)."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            square = ImageOps.fit(image.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
    except (OSError, Image.DecompressionBombError) as error:
        raise UsageError(f"data: {path} is not a readable image: {error}") from None
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).contiguous()
