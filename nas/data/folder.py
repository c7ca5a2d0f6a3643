"""Image folders, ``train/CLASS/`` and ``test/CLASS/`` or ``val/CLASS/``, or ``CLASS/`` alone: decoded once into a
memory-mapped file of bytes."""

import hashlib
import json
import os
import warnings
from itertools import groupby
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from nas.data.dataset import Dataset, Split, statistics
from nas.errors import UsageError
from nas.files import read_text, write

SUFFIXES = {".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".avif", ".gif", ".tif", ".tiff"}
TESTS = ("test", "val", "valid", "validation")
DRAWN = "nas-test.txt"
"""In a folder without a test set: the images, a line each, that are kept for testing."""
LAYOUT = "an image folder has train/CLASS/ and test/CLASS/ (or val/CLASS/), or CLASS/ alone"

Entry = tuple[Path, int]
"""An image's file, and its label."""


def load(root: Path, image_size: int | None, cache: Path) -> Dataset:
    """Reads a folder; images are made square of side ``image_size`` (default: the shorter side, if all have one size).

    Where there is no test set, a fifth of each class is kept for it, and written to ``nas-test.txt`` in the folder.

    Raises:
        UsageError: no such layout, an unreadable image, images of several sizes and no ``image_size``, classes that
            differ between train and test.
    """
    parts, tests = _folders(root), [name for name in TESTS if (root / name).is_dir()]
    if not parts or (tests and "train" not in parts):
        raise UsageError(f"data {root}: {LAYOUT}; train/ is missing")
    train = root / "train" if "train" in parts else root
    classes = _folders(train)
    if not classes:
        raise UsageError(f"data {root}: {LAYOUT}; there is no class in {train}")
    entries = _files(train, classes)
    _check(root, classes, entries, "training")
    if tests:
        tested = _files(root / tests[0], classes)
    else:
        entries, tested = _divided(root, entries)
        _check(root, classes, entries, "training")
    _check(root, classes, tested, "test")
    if tests[1:]:
        warnings.warn(f"data {root}: {tests[0]}/ is the test set, {tests[1]}/ is not read", stacklevel=2)
    size = image_size or _size([path for path, _ in entries + tested])
    learnt, kept = _split(entries, size, cache), _split(tested, size, cache)
    mean, std = statistics(learnt.images)
    return Dataset(str(root), tuple(classes), learnt, kept, mean, std, padding=max(1, size // 8))


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path, classes: list[str]) -> list[Entry]:
    """The images of each class, at any depth; hidden files and folders are passed over."""
    if unknown := sorted(set(_folders(folder)) - set(classes)):
        raise UsageError(f"data {folder}: class {unknown[0]} is not in train/")
    entries: list[Entry] = []
    others: list[Path] = []
    for label, name in enumerate(classes):
        files = sorted(path for path in (folder / name).rglob("*") if path.is_file() and not _hidden(path, folder))
        if odd := next((path for path in files if "\\udc" in ascii(str(path))), None):
            raise UsageError(f"data {folder}: {str(odd)!a}: its name is no UTF-8 text, so no record could hold it")
        entries += [(path, label) for path in files if path.suffix.lower() in SUFFIXES]
        others += [path for path in files if path.suffix.lower() not in SUFFIXES]
    if others:
        warnings.warn(f"data {folder}: not read as images: {len(others)} files, such as {others[0]}", stacklevel=2)
    return entries


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


def _check(root: Path, classes: list[str], entries: list[Entry], part: str) -> None:
    if lacking := set(range(len(classes))) - {label for _, label in entries}:
        raise UsageError(f"data {root}: class {classes[min(lacking)]} has no {part} images")


def _divided(root: Path, entries: list[Entry]) -> tuple[list[Entry], list[Entry]]:
    """(Training, test) images; the test set is the one on record, or drawn and put there."""
    names = {entry: entry[0].relative_to(root).as_posix() for entry in entries}
    record = root / DRAWN
    if record.is_file():
        drawn = set(read_text(record).splitlines())
    else:
        drawn = _drawn(names)
        said = f"{len(drawn)} of {len(entries)} images, a fifth of each class, are kept for testing"
        try:
            write(record, "".join(f"{name}\n" for name in sorted(drawn)))
            said += f": see {record}"
        except UsageError as error:
            said += f", the same ones each time, though unrecorded: {error}"
        warnings.warn(f"data {root}: neither test/ nor val/ is there; {said}", stacklevel=2)
    return [each for each in entries if names[each] not in drawn], [each for each in entries if names[each] in drawn]


def _drawn(names: dict[Entry, str]) -> set[str]:
    """A fifth of each class, by the digests of the names, so that it is the same on all machines."""
    drawn = set[str]()
    for _, group in groupby(names, key=lambda entry: entry[1]):
        ordered = sorted((names[entry] for entry in group), key=lambda name: hashlib.sha256(name.encode()).digest())
        if len(ordered) < 2:
            raise UsageError(f"data: {ordered[0]} is alone in its class, and there is neither test/ nor val/")
        drawn.update(ordered[: max(1, len(ordered) // 5)])
    return drawn


def _size(paths: list[Path]) -> int:
    """The shorter side of images that are all of one size."""
    first: tuple[int, int] | None = None
    for path in paths:
        try:
            with Image.open(path) as image:
                size = image.size
        except Exception as error:  # as of _pixels
            raise UsageError(f"data: {path} is not a readable image: {error}") from None
        first = first or size
        if size != first:
            sizes = f"{paths[0]} has {first[0]}×{first[1]} pixels, {path} {size[0]}×{size[1]}"
            raise UsageError(f"data: the images differ in size: {sizes}; say --image-size, such as 224")
    assert first is not None
    return min(first)


def _split(entries: list[Entry], size: int, cache: Path) -> Split:
    described = [(str(path), path.stat().st_mtime_ns, path.stat().st_size) for path, _ in entries]
    key = hashlib.sha256(json.dumps(["upright", size, described]).encode()).hexdigest()[:16]
    path = cache / "folders" / f"{key}.u8"
    shape = (len(entries), 3, size, size)
    if not path.is_file():
        _decode(entries, shape, path)
    images = torch.from_file(str(path), shared=False, size=torch.Size(shape).numel(), dtype=torch.uint8).view(shape)
    return Split(images, torch.tensor([label for _, label in entries]))


def _decode(entries: list[Entry], shape: tuple[int, ...], path: Path) -> None:
    """Writes the images' pixels; whoever decodes the same folder at the same time writes a file of its own."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as out:
            try:
                for source, _ in entries:
                    out.write(_pixels(source, shape[-1]).numpy().tobytes())
                out.close()
                os.replace(out.name, path)
            except BaseException:
                os.unlink(out.name)
                raise
    except OSError as error:
        raise UsageError(f"data: decoded images cannot be kept in {path.parent}: {error}") from None


def _pixels(path: Path, size: int) -> Tensor:
    """The centre square of an image, resized: uint8 (3, size, size)."""
    try:
        with Image.open(path) as image:
            square = ImageOps.fit(_rgb(image), (size, size), Image.Resampling.BILINEAR)
    except Exception as error:  # decoders raise errors of any kind at damaged files
        raise UsageError(f"data: {path} is not a readable image: {error}") from None
    return torch.from_numpy(np.asarray(square).copy()).permute(2, 0, 1).contiguous()


def _rgb(image: Image.Image) -> Image.Image:
    """The image upright in 8-bit RGB, whatever its file holds: grey, palette, CMYK, 16-bit grey; alpha is dropped.

    Raises:
        ValueError: pixels whose range is not known.
    """
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright) >> 8).astype(np.uint8))
    elif upright.mode in ("I", "F"):
        raise ValueError(f"its pixels are of Pillow's mode {upright.mode}, whose range is not known; 8 or 16 bits are")
    if "transparency" in upright.info:
        upright = upright.convert("RGBA")
    return upright.convert("RGB")
