"""Folders of images and CIFAR files as they come: they are read, or refused in one line, in bounded time."""

import io
import os
import pickle
import resource
import shutil
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from struct import pack

import numpy as np
import pytest
from PIL import Image

from nas import data
from nas.errors import UsageError
from tests.campaign.tries import Tries
from tests.conftest import write_cifar

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F")
FORMATS = ("png", "jpg", "gif", "bmp", "webp", "tif", "avif")
SECONDS = 30


def chunk(kind: bytes, body: bytes) -> bytes:
    return pack(">I", len(body)) + kind + body + pack(">I", zlib.crc32(kind + body))


def bomb(side: int) -> bytes:
    """A PNG of side × side black pixels, a thousandth of their size."""
    head = pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(side + 1)) for _ in range(side)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def animated(stream: Random) -> bytes:
    frames = [Image.new("P", (9, 8), number) for number in range(stream.randint(2, 5))]
    frames[0].save(out := io.BytesIO(), "gif", save_all=True, append_images=frames[1:])
    return out.getvalue()


def plain(stream: Random) -> bytes:
    """An image of any mode, in any format that takes it."""
    side = stream.choice((1, 2, 8, 9, 31, 200)), stream.choice((1, 8, 9, 31))
    image = Image.new(stream.choice(MODES), side)
    exif = Image.Exif()
    exif[0x0112] = stream.choice((1, 3, 6, 8, 0, 99))
    while True:
        out, form = io.BytesIO(), Image.registered_extensions()[f".{stream.choice(FORMATS)}"]
        try:
            image.save(out, form, exif=exif) if form in ("PNG", "JPEG", "WEBP") else image.save(out, form)
        except (OSError, ValueError, KeyError):
            image = image.convert("RGB")
            continue
        return out.getvalue()


def damaged(stream: Random) -> bytes:
    content = bytearray(plain(stream))
    if stream.random() < 0.5:
        return bytes(content[: stream.randrange(len(content))])
    for _ in range(stream.randint(1, 8)):
        content[stream.randrange(len(content))] = stream.randrange(256)
    return bytes(content)


def noise(stream: Random) -> bytes:
    return stream.randbytes(stream.choice((0, 1, 10, 1000)))


CONTENTS: tuple[Callable[[Random], bytes], ...] = (plain, plain, plain, damaged, noise, animated)
CONTENTS += (lambda stream: bomb(stream.choice((2000, 15_000, 40_000))) if stream.random() < 0.1 else plain(stream),)
NAMES = ("a", "b c", "[/x]", "{}", "é", "a\nb", "..x", "x" * 200, "-x", "'", "none", "%s")


def fill(root: Path, stream: Random) -> None:
    """A folder of a few odd images, in one of the layouts or nearly so."""
    parts = stream.choice((("train", "test"), ("train", "val"), ("train",), ("",), ("test",), ("train", "test", "val")))
    classes = stream.sample(NAMES, stream.choice((0, 1, 2, 2, 2, 3, 5)))
    odd = stream.random() < 0.7
    for part in parts:
        for name in classes:
            (root / part / name).mkdir(parents=True, exist_ok=True)
            for number in range(stream.choice((0, 1, 2, 3)) if odd else 3):
                path = root / part / name / f"{number}.{stream.choice(FORMATS)}"
                place(path, stream) if odd and stream.random() < 0.1 else path.write_bytes(
                    stream.choice(CONTENTS)(stream) if odd else plain(stream)
                )


def place(path: Path, stream: Random) -> None:
    """Something else of an image's name."""
    what = stream.randrange(6)
    if what == 0:
        path.mkdir()
    elif what == 1:
        path.symlink_to("nowhere")
    elif what == 2:
        path.symlink_to(path.parent.parent, target_is_directory=True)
    elif what == 3:
        os.mkfifo(path)
    elif what == 4:
        path.write_bytes(plain(stream))
        path.chmod(0)
    else:
        os.close(os.open(os.fsencode(path.parent) + b"/\xff.png", os.O_CREAT))


def read(name: str, **options: object) -> None:
    """Loads data, which may be refused in one line, within its time."""
    started = time.process_time()
    data.forget()
    try:
        dataset = data.load(name, **options)  # type: ignore[arg-type]
        assert len(dataset.train) and len(dataset.test) and dataset.digest
        assert set(dataset.train.labels.tolist()) <= set(range(len(dataset.classes)))
    except UsageError as error:
        assert str(error)
    spent = time.process_time() - started
    assert spent < SECONDS, f"{spent:.0f} s"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.mark.campaign("f: image folders", share=1.5)
def test_folders(tries: Tries, tmp_path: Path) -> None:
    def attempt(stream: Random) -> int:
        root = tmp_path / "images"
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        fill(root, stream)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for size in (None, 8, stream.choice((16, 33))):
                read(str(root), image_size=size)
        return 3

    tries.repeat(attempt)


@pytest.mark.campaign("f: CIFAR files", share=2.5)
@pytest.mark.filterwarnings("ignore")
def test_cifar(tries: Tries, tmp_path: Path) -> None:
    """A file with bytes changed, or of other opcodes, globals and labels."""
    whole = write_cifar(tmp_path / "whole", images=12)
    globals_ = [b"os system", b"builtins eval", b"builtins range", b"numpy ndarray", b"numpy.core.multiarray scalar"]

    def attempt(stream: Random) -> int:
        folder = shutil.copytree(whole, tmp_path / "odd", dirs_exist_ok=True) / "cifar-10-batches-py"
        path = stream.choice(sorted(folder.iterdir()))
        content = bytearray(path.read_bytes())
        what = stream.random()
        if what < 0.5:
            for _ in range(stream.randint(1, 6)):  # the pixels are most of a file
                content[stream.choice((stream.randrange(200), -stream.randrange(1, 200)))] = stream.randrange(256)
        elif what < 0.6:
            del content[stream.randrange(len(content)) :]
        elif what < 0.8:
            codes = b"}](l)0." + b"".join(b"%c" % stream.randrange(256) for _ in range(stream.randint(1, 60)))
            content = bytearray(b"\x80\x02" + bytes(stream.choice(codes) for _ in range(stream.randint(1, 80))) + b".")
        elif what < 0.9:
            name = stream.choice(globals_).replace(b" ", b"\n")
            content = bytearray(b"\x80\x02c" + name + b"\n(X\x01\x00\x00\x00xK\x05tR.")
        else:
            labels = [stream.choice((0, 9, 10, -1, 2**70, 0.5, None, True, "x")) for _ in range(12)]
            record = {b"data": np.zeros((12, 3072), np.uint8), b"labels": labels}
            content = bytearray(pickle.dumps(record, protocol=stream.choice((0, 1, 2, 4))))
        path.write_bytes(content)
        read("cifar10", root=folder.parent)
        return 1

    tries.repeat(attempt)


@pytest.mark.campaign("f: 100,000 files", share=0.3)
@pytest.mark.filterwarnings("ignore")
def test_many_files(tries: Tries, tmp_path: Path) -> None:
    """One image under so many names: read in bounded time and memory."""

    def attempt(stream: Random) -> int:
        images = [tmp_path / f"{number}.png" for number in (1, 2)]  # a file may have 65,000 names
        for image in images:
            Image.new("RGB", (8, 8)).save(image)
        for number in range(100_000):
            folder = tmp_path / "many" / f"c{number % 100}" / str(number // 20_000)
            if number < 100 or number % 20_000 < 100:
                folder.mkdir(parents=True, exist_ok=True)
            os.link(images[number % 2], folder / f"{number}.png")
        before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
        dataset = data.load(str(tmp_path / "many"))
        assert len(dataset.train) + len(dataset.test) == 100_000
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000, "KiB"
        assert time.process_time() - started < 120
        shutil.rmtree(tmp_path / "many")
        return 1

    tries.seconds = 0  # once
    tries.repeat(attempt)
