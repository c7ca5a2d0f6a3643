"""Image folders: layouts, test sets that are drawn, formats, what is refused."""

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas import data
from nas.data import folder as image_folder
from nas.errors import UsageError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def write_folder(root: Path, classes: tuple[str, ...] = ("cat", "dog")) -> Path:
    for part in ("train", "test"):
        for index, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for number in range(3):
                pixels = np.full((20 + number, 30, 3), 100 * index + number, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{number}.png")
    return root


def test_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets")
    dataset = data.load(str(root), image_size=24)
    assert dataset.shape == (3, 24, 24) and dataset.classes == ("cat", "dog")
    assert dataset.train.images[3].unique().tolist() == [100]
    with pytest.raises(UsageError, match=r"30×20 pixels, .*1\.png 30×21; say --image-size"):
        data.load(str(root))


def save(path: Path, image: Image.Image, **how: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **how)


def plain(root: Path, count: int = 10, side: int = 8) -> Path:
    for index, name in enumerate(("cat", "dog")):
        for number in range(count):
            save(root / name / f"{number}.png", Image.new("RGB", (side, side), (100 * index, number, 0)))
    return root


def test_a_folder_without_test_images_keeps_the_same_ones_for_testing(tmp_path: Path) -> None:
    root = plain(tmp_path / "pets")
    with pytest.warns(UserWarning, match=r"4 of 20 images, a fifth of each class, .* see .*nas-test\.txt"):
        dataset = data.load(str(root))
    assert (len(dataset.train), dataset.test.labels.tolist()) == (16, [0, 0, 1, 1])
    record = (root / "nas-test.txt").read_text().splitlines()
    assert {name.split("/")[0] for name in record} == {"cat", "dog"} and len(record) == 4
    data.forget()
    assert data.load(str(root)).digest == dataset.digest
    moved = plain(tmp_path / "elsewhere" / "train")
    with pytest.warns(UserWarning, match="kept for testing"):
        data.load(str(moved))
    assert (moved / "nas-test.txt").read_text().splitlines() == record
    save(root / "cat" / "later.png", Image.new("RGB", (8, 8)))
    data.forget()
    assert len(data.load(str(root)).test) == 4
    (root / "nas-test.txt").write_text("cat/0.png\n")
    data.forget()
    with pytest.raises(UsageError, match="class dog has no test images"):
        data.load(str(root))


@pytest.mark.parametrize("name", ["test", "val", "valid", "validation"])
def test_names_of_the_test_set(tmp_path: Path, name: str) -> None:
    plain(tmp_path / "pets" / "train", 3), plain(tmp_path / "pets" / name, 2)
    dataset = data.load(str(tmp_path / "pets"))
    assert (len(dataset.train), len(dataset.test)) == (6, 4)


def test_what_of_a_folder_is_not_read_is_said(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    plain(root / "train", 3), plain(root / "test", 2), plain(root / "val", 1)
    (root / "train" / "cat" / "9.heic").write_bytes(b"")
    (root / "train" / "cat" / "._1.png").write_bytes(b"")
    with pytest.warns(UserWarning) as said:
        data.load(str(root))
    assert [re.sub(r"data \S+", "data", str(each.message)) for each in said] == [
        f"data not read as images: 1 files, such as {root}/train/cat/9.heic",
        "data test/ is the test set, val/ is not read",
    ]


def test_hidden_folders_are_passed_over(tmp_path: Path) -> None:
    root = plain(tmp_path / "pets", 4)
    copies = root / "cat" / ".ipynb_checkpoints"
    copies.mkdir()
    shutil.copy(next((root / "cat").glob("*.png")), copies / "0-checkpoint.png")
    with pytest.warns(UserWarning, match="2 of 8 images"):
        data.load(str(root))


def test_two_that_decode_a_folder_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins while the first is at its second image; each has all pixels."""
    entries = [(tmp_path / f"{number}.png", 0) for number in range(3)]
    for path, _ in entries:
        save(path, UPRIGHT)
    pixels, others = image_folder._pixels, list[Any]()

    def slowly(path: Path, size: int) -> torch.Tensor:
        if path.stem == "1" and not others:
            others.append(None)
            others[0] = image_folder._split(entries, 16, tmp_path / "cache")
        return pixels(path, size)

    monkeypatch.setattr(image_folder, "_pixels", slowly)
    first = image_folder._split(entries, 16, tmp_path / "cache")
    for split in (first, others[0]):
        assert (split.images == pixels(entries[0][0], 16)).all()
    assert len(list((tmp_path / "cache" / "folders").iterdir())) == 1, "nothing half written is left"


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def halves(mode: str, dark: Any, bright: Any) -> Image.Image:
    """16×16, the upper half bright."""
    image = Image.new(mode, (16, 16), dark)
    image.paste(bright, (0, 0, 16, 8))
    return image


def palette() -> Image.Image:
    image = halves("RGBA", (0, 0, 0, 255), (255, 255, 255, 255)).quantize(4)
    image.info["transparency"] = bytes([255, 255, 0, 0])
    return image


UPRIGHT = halves("RGB", (0, 0, 0), (255, 255, 255))
FORMATS = {
    "rgb.jpg": (UPRIGHT, {"quality": 95}),
    "rgb.webp": (UPRIGHT, {"lossless": True}),
    "grey.png": (halves("L", 0, 255), {}),
    "bits.png": (halves("1", 0, 1), {}),
    "alpha.png": (halves("RGBA", (0, 0, 0, 9), (255, 255, 255, 9)), {}),
    "palette.png": (palette(), {}),
    "palette.gif": (UPRIGHT.quantize(4), {}),
    "cmyk.jpg": (UPRIGHT.convert("CMYK"), {"quality": 95}),
    "turned.jpg": (UPRIGHT.transpose(Image.Transpose.ROTATE_90), {"quality": 95, "exif": orientation(6)}),
    "deep.png": (Image.fromarray(np.repeat([[65535], [0]], 8, 0).repeat(16, 1).astype(np.uint16)), {}),
    "deep.tif": (Image.fromarray(np.repeat([[65535], [0]], 8, 0).repeat(16, 1).astype(np.uint16)), {}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(tmp_path: Path, name: str) -> None:
    """All are the same picture."""
    image, how = FORMATS[name]
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        save(tmp_path / "all" / folder / name, image, **how)
    pixels = data.load(str(tmp_path / "all")).test.images[0].float()
    assert pixels.shape == (3, 16, 16)
    assert pixels[:, :7].min() > 240 and pixels[:, 9:].max() < 15


@pytest.mark.parametrize("content", [Image.new("F", (8, 8)), b"II*\0 no image", UPRIGHT])
def test_what_cannot_be_read_is_named(tmp_path: Path, content: Any) -> None:
    """Pixels of an unknown range, no image, half an image."""
    for folder in ("train/a", "train/b", "test/a", "test/b"):
        save(tmp_path / folder / "1.tif", UPRIGHT)
    broken = tmp_path / "train" / "b" / "2.tif"
    if isinstance(content, bytes):
        broken.write_bytes(content)
    else:
        content.save(broken)
    if content is UPRIGHT:
        broken.write_bytes(broken.read_bytes()[:200])
    with pytest.raises(UsageError, match=r"train/b/2\.tif is not a readable image: .*"):
        data.load(str(tmp_path), image_size=16)


@pytest.mark.parametrize("size", [None, 16])
def test_what_a_decoder_does_not_understand_is_named(tmp_path: Path, size: int | None) -> None:
    """AVIF's says so by a RuntimeError, as soon as the file is opened."""
    for name in ("train/a/1", "train/b/1", "test/a/1", "test/b/1"):
        (tmp_path / name).parent.mkdir(parents=True)
        UPRIGHT.save(tmp_path / f"{name}.avif")
    broken = tmp_path / "train" / "b" / "1.avif"
    broken.write_bytes(broken.read_bytes().replace(b"pitm", b"xxxx"))  # which of its items is the picture
    with pytest.raises(UsageError, match=r"b/1\.avif is not a readable image: .*"):
        data.load(str(tmp_path), image_size=size)


def test_classes_without_images_are_refused(tmp_path: Path) -> None:
    root = tmp_path / "pets"
    plain(root / "train", 3), plain(root / "test", 2)
    shutil.rmtree(root / "test" / "dog")
    with pytest.raises(UsageError, match="class dog has no test images"):
        data.load(str(root))
    (root / "train" / "bird").mkdir()
    with pytest.raises(UsageError, match="class bird has no training images"):
        data.load(str(root))
    shutil.rmtree(root / "train")
    with pytest.raises(UsageError, match="train/ is missing"):
        data.load(str(root))
    with pytest.raises(UsageError, match=r"cat/0\.png is alone in its class"):
        data.load(str(plain(tmp_path / "few", 1)))


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train").mkdir()
    with pytest.raises(UsageError, match="no class in"):
        data.load(str(tmp_path))
    os.close(os.open(os.fsencode(plain(tmp_path / "pets", 3)) + b"/cat/\xff.png", os.O_CREAT))
    with pytest.raises(UsageError, match=r"pets/cat/\\udcff.png': its name is no UTF-8 text"):
        data.load(str(tmp_path / "pets"))


def test_folders_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two"):
        data.load(str(write_folder(tmp_path / "one", ("cat",))), image_size=24)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="train/CLASS"):
        data.load(str(tmp_path / "empty"))
    root = write_folder(tmp_path / "broken")
    (root / "train" / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(UsageError, match=r"0\.png"):
        data.load(str(root), image_size=24)
