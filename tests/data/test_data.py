"""Data sets: real layouts, damaged files, streams that depend on (seed, step) alone."""

import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from nas import data
from nas.data.batches import Augmentation, Stream, plain_batches
from nas.data.dataset import Dataset, Split, statistics
from nas.data.jitter import ORDERS, jitter
from nas.errors import UsageError
from nas.rng import generator
from tests.conftest import write_cifar

pytestmark = pytest.mark.filterwarnings("ignore:data cifar10. . files .* differ from the official MD5")


def test_cifar(cifar: Path) -> None:
    dataset = data.load("cifar10", root=cifar)
    assert dataset.shape == (3, 32, 32) and len(dataset.classes) == 10
    assert (len(dataset.train), len(dataset.test)) == (100, 20)
    assert dataset.train.images.dtype == torch.uint8


def test_cifar_warns_of_other_sums(cifar: Path) -> None:
    with pytest.warns(UserWarning, match="MD5"):
        data.load("cifar10", root=cifar)


def test_cifar100(tmp_path: Path) -> None:
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        record = {b"data": np.zeros((4, 3072), np.uint8), b"fine_labels": [0, 1, 99, 3], b"coarse_labels": [0, 0, 0, 0]}
        (folder / name).write_bytes(pickle.dumps(record, protocol=2))
    names = {b"fine_label_names": [f"c{label}".encode() for label in range(100)]}
    (folder / "meta").write_bytes(pickle.dumps(names, protocol=2))
    with pytest.warns(UserWarning, match="MD5"):
        dataset = data.load("cifar100", root=tmp_path)
    assert len(dataset.classes) == 100 and dataset.train.labels.tolist() == [0, 1, 99, 3]


@pytest.mark.parametrize("content", [{}, {b"label_names": None}, {b"label_names": [1, 2]}])
def test_cifar_without_names(content: dict[bytes, Any], tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    (root / "cifar-10-batches-py" / "batches.meta").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UsageError, match=r"batches\.meta does not hold the classes' names"):
        data.load("cifar10", root=root)


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch harmed",)


class Call:
    """A call, as a pickle has it."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


TWICE = b"".join(b"h%c\x86q%c" % (number, number + 1) for number in range(40))
"""A tuple of the last tuple twice, 40 times: 400 bytes whose hash takes 2⁴⁰ steps."""
ODD_PICKLES = {
    "empty": b"",
    "nothing": b"\x80\x02",
    "text": b"not a pickle",
    "list": pickle.dumps([1]),
    "call": pickle.dumps(Harmful()),
    "doubling": b"\x80\x02}K\x01\x85q\x00" + TWICE + b"K\x01s.",
    "duplicate": b"\x80\x02}K\x01" + 40 * b"2\x86" + b"K\x01s.",
    "no images": pickle.dumps({b"data": Call(np.ndarray, (10**8, 3072), "uint8"), b"labels": [0]}),
    "no bytes": pickle.dumps({b"data": Call(np.ndarray, (20, 3072), "uint8"), b"labels": [0] * 20}),
    "none": pickle.dumps({b"data": np.zeros((0, 3072), np.uint8), b"labels": []}, protocol=2),
    "range": pickle.dumps({b"labels": range(3 * 10**8)}),
}


@pytest.mark.parametrize("name", ODD_PICKLES)
def test_damaged_cifar(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = ODD_PICKLES[name]
    root = write_cifar(tmp_path / "data")
    (root / "cifar-10-batches-py" / "data_batch_3").write_bytes(content)
    with pytest.raises(UsageError, match="data_batch_3") as error:
        data.load("cifar10", root=root)
    assert "\n" not in str(error.value) and not (tmp_path / "harmed").exists()


@pytest.mark.parametrize(
    ("state", "other"),
    [
        (rb"u1", rb"O8"),
        (rb"K\x14M\x00\x0c\x86", b"K\x15M\x00\x0c\x86"),
        (rb"latin1", rb"utf-16"),
    ],
    ids=["objects", "an image more", "an encoding"],
)
def test_arrays_of_another_state(state: bytes, other: bytes, tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    path = changed(root, state, other)
    with pytest.raises(UsageError, match=path.name):
        data.load("cifar10", root=root)


def test_numpy_does_not_read_a_type(tmp_path: Path) -> None:
    """One whose fields are a pair would end the process; a byte's type has nothing to be read."""
    root = write_cifar(tmp_path)
    whole = data.load("cifar10", root=root)
    changed(root, rb"\|(q.)NNN", rb"|\1NN" + b"\x86")
    data.forget()
    assert torch.equal(data.load("cifar10", root=root).train.images, whole.train.images)


def changed(root: Path, found: bytes, other: bytes) -> Path:
    """A file of CIFAR-10, in which one place is something else."""
    path = root / "cifar-10-batches-py" / "data_batch_2"
    content, count = re.subn(found, other, path.read_bytes(), count=1, flags=re.DOTALL)
    assert count == 1
    path.write_bytes(content)
    return path


def test_truncated_and_missing_cifar(tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    path = root / "cifar-10-batches-py" / "test_batch"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UsageError, match="test_batch"):
        data.load("cifar10", root=root)
    path.unlink()
    with pytest.raises(UsageError, match="missing"):
        data.load("cifar10", root=root)


def test_labels_out_of_range(tmp_path: Path) -> None:
    root = write_cifar(tmp_path)
    path = root / "cifar-10-batches-py" / "test_batch"
    record = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({**record, b"labels": [10] * 20}))
    with pytest.raises(UsageError, match="labels outside"):
        data.load("cifar10", root=root)


def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    def fail(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "CIFAR10", fail)
    with pytest.raises(UsageError, match=r"could not be downloaded.*NAS_DATA"):
        data.load("cifar10", root=tmp_path)


def test_digits() -> None:
    dataset = data.load("digits")
    assert dataset.shape == (3, 16, 16) and (len(dataset.train), len(dataset.test)) == (1437, 360)
    assert torch.equal(dataset.test.labels, data.load("digits").test.labels)
    assert dataset.test.labels.bincount().min() > 30
    assert (dataset.padding, dataset.flip) == (2, False)


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="neither a folder"):
        data.load("cifar11")


def made_up(images: int = 40) -> Dataset:
    stream = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 3, 12, 12), generator=stream, dtype=torch.uint8)
    split = Split(pixels, torch.arange(images) % 4)
    return Dataset("made up", tuple("abcd"), split, split, (0.5,) * 3, (0.25,) * 3)


def test_stream_is_a_function_of_the_step() -> None:
    dataset = made_up()
    augmentation = Augmentation.of(dataset, cutout=True, device="cpu")
    one, two = (Stream(dataset.train, augmentation, 8, seed=3) for _ in range(2))
    assert one.steps == 5
    expected = [one.at(step) for step in range(12)]
    for step in (11, 3, 7, 0):
        images, labels = two.at(step)
        assert torch.equal(images, expected[step][0]) and torch.equal(labels, expected[step][1])
    other = Stream(dataset.train, augmentation, 8, seed=4)
    assert not torch.equal(other.at(0)[0], expected[0][0])


def test_each_pass_sees_each_image_once() -> None:
    dataset = made_up()
    split = Split(dataset.train.images, torch.arange(40))
    stream = Stream(split, Augmentation.of(dataset, cutout=False, device="cpu"), 8, seed=0)
    for start in (0, 5):
        seen = torch.cat([stream.at(start + step)[1] for step in range(5)])
        assert sorted(seen.tolist()) == list(range(40))


def test_statistics_of_images_that_lie_class_by_class() -> None:
    images = torch.cat([torch.zeros(50_000, 3, 1, 1), torch.full((50_000, 3, 1, 1), 255)]).to(torch.uint8)
    mean, std = statistics(images)
    assert mean == pytest.approx((0.5,) * 3, abs=1e-3) and std == pytest.approx((0.5,) * 3, abs=1e-3)


def test_images_that_are_not_square_are_only_made_smaller() -> None:
    images = torch.zeros(4, 3, 48, 24, dtype=torch.uint8)
    split = Split(images, torch.tensor([0, 1, 0, 1]))
    with pytest.raises(UsageError, match="have 24 pixels and are only made smaller"):
        Dataset("wide", ("a", "b"), split, split, (0.5,) * 3, (0.5,) * 3).shrunk(32)


def test_batch_larger_than_the_data() -> None:
    dataset = made_up()
    with pytest.raises(UsageError, match="--batch 41"):
        Stream(dataset.train, Augmentation.of(dataset, cutout=False, device="cpu"), 41, seed=0)


def test_augmentation_by_hand() -> None:
    """Each image by plain indexing: pad, crop, flip, cut out."""
    dataset = made_up(8)
    augmentation = Augmentation.of(dataset, cutout=True, device="cpu")
    drawn = augmentation.draw(8, (12, 12), torch.Generator().manual_seed(1))
    found = augmentation.apply(dataset.train.images, drawn)
    plain = (dataset.train.images.float() / 255 - 0.5) / 0.25
    for image, numbers, result in zip(plain, drawn.tolist(), found, strict=True):
        row, column, flip, centre_row, centre_column = numbers
        padded = torch.zeros(3, 20, 20)
        padded[:, 4:16, 4:16] = image
        crop = padded[:, row : row + 12, column : column + 12].clone()
        crop = crop.flip(2) if flip else crop
        crop[:, max(0, centre_row - 3) : centre_row + 3, max(0, centre_column - 3) : centre_column + 3] = 0
        assert torch.allclose(result, crop, atol=1e-6)
    assert drawn[:, 2].unique().tolist() == [0, 1]


def test_plain_batches() -> None:
    dataset = made_up()
    augmentation = Augmentation.of(dataset, cutout=True, device="cpu")
    labels = torch.cat([labels for _, labels in plain_batches(dataset.test, augmentation, 16)])
    assert torch.equal(labels, dataset.test.labels)


def test_limits_and_halves() -> None:
    dataset = made_up()
    assert len(dataset.limited(12, 0).train) == 12
    assert len(dataset.limited(41, 0).train) == 40
    rest, held_out = dataset.divided(10, 0)
    assert (len(rest), len(held_out)) == (30, 10)
    with pytest.raises(UsageError, match="held out"):
        dataset.divided(40, 0)
    shuffled = dataset.shuffled(0)
    assert not torch.equal(shuffled.train.labels, dataset.train.labels)
    assert torch.equal(shuffled.train.labels.bincount(), dataset.train.labels.bincount())


def test_resized_crops(cifar: Path) -> None:
    dataset = data.load("cifar10", root=cifar)
    augmentation = Augmentation.of(dataset, cutout=False, device="cpu", resized=True)
    images = dataset.train.images[:6]
    drawn = augmentation.draw(6, (32, 32), generator(0, "augment", 1))
    out = augmentation.apply(images, drawn)
    assert out.shape == images.shape and out.dtype == torch.float32
    assert torch.equal(out[2:4], augmentation.apply(images[2:4], drawn[2:4])), "each image by its own numbers"
    whole = drawn.clone()
    whole[:, [2, 5, 6]] = torch.tensor([0, 2**20, 2**19])  # not mirrored, all of the area, square
    assert torch.allclose(augmentation.apply(images, whole), augmentation.normalise(images), atol=1e-4)
    whole[:, 2] = 1
    assert torch.allclose(augmentation.apply(images, whole), augmentation.normalise(images).flip(3), atol=1e-4)


def test_a_resized_crop_lies_where_it_was_drawn(cifar: Path) -> None:
    dataset = data.load("cifar10", root=cifar)
    augmentation = Augmentation.of(dataset, cutout=False, device="cpu", resized=True)
    rows = torch.arange(32, dtype=torch.uint8).view(1, 1, 32, 1).expand(1, 3, 32, 32) * 8
    quarter = round((0.25 - 0.08) / 0.92 * 2**20)  # half of each side
    for place, wanted in ((0, (0, 15)), (2**20, (16, 31))):
        drawn = torch.tensor([[place, 0, 0, 0, 0, quarter, 2**19]])
        seen = augmentation.apply(rows, drawn) * augmentation.std + augmentation.mean
        found = seen[0, 0, :, 0] * 255 / 8
        assert found.min() == pytest.approx(wanted[0], abs=0.3) and found.max() == pytest.approx(wanted[1], abs=0.3)


def coloured(images: int = 12) -> torch.Tensor:
    torch.manual_seed(0)
    return torch.rand(images, 3, 6, 6)


def test_jitter_is_torchvisions() -> None:
    """Each image by its own factors in its own order, against the library's functions for one image."""
    changes = (functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation)
    images, order, factors = coloured(), torch.arange(12) % 6, 1.6 * torch.rand(12, 3)
    for image, number, factor, found in zip(images, order, factors, jitter(images, order, factors), strict=True):
        wanted = image
        for change in ORDERS[number]:
            wanted = changes[change](wanted, float(factor[change]))
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-6)
    assert torch.equal(jitter(images, order, torch.ones(12, 3)), images)


def test_jitter_of_a_stream() -> None:
    """It changes colours alone, by what the step draws: of even grey images only the brightness, by 0.6 to 1.4."""
    split = Split(torch.full((40, 3, 8, 8), 128, dtype=torch.uint8), torch.zeros(40, dtype=torch.int64))
    dataset = replace(made_up(), train=split, mean=(0.0,) * 3, std=(1.0,) * 3, padding=0)
    streams = [
        Stream(split, Augmentation.of(dataset, cutout=True, device="cpu", jitter=strength), 40, seed=0)
        for strength in (0.0, 0.4, 0.4)
    ]
    plain, changed, again = (stream.at(3)[0] for stream in streams)
    assert torch.equal(changed, again) and not torch.equal(changed, streams[1].at(4)[0])
    assert torch.equal(streams[0].drawn(3)[1], streams[1].drawn(3)[1][:, :5])
    ratios = (changed / plain)[plain > 0]
    assert ratios.min() > 0.599 and ratios.max() < 1.401 and ratios.max() - ratios.min() > 0.6
    assert not changed[plain == 0].any(), "holes stay holes"


def test_images_are_only_made_smaller() -> None:
    whole, small = data.load("digits"), data.load("digits", image_size=12)
    assert small.shape == (3, 12, 12) and small.train.images.dtype == torch.uint8 and len(small.test) == len(whole.test)
    means = [dataset.train.images.float().mean() for dataset in (whole, small)]
    assert abs(means[0] - means[1]) < 3 and torch.equal(small.train.labels, whole.train.labels)
    with pytest.raises(UsageError, match="only made smaller"):
        data.load("digits", image_size=16)
