"""What many tests need: few threads, a small CIFAR-10 in the official layout, the command line in this process."""

import gc
import hashlib
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from nas import data
from nas.bilevel import loop as bilevel_loop
from nas.train import loop as train_loop
from nas.train import preflight, session

torch.set_num_threads(1)
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when Triton is first imported


def write_cifar(root: Path, images: int = 20, classes: int = 10) -> Path:
    """CIFAR-10's six files with a few made-up images: each class is a grey level."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    stream = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        labels = [int(label) for label in stream.integers(0, classes, images)]
        noise = stream.integers(0, 60, (images, 3072))
        pixels = (noise + 19 * np.array(labels)[:, None]).astype(np.uint8)
        (folder / name).write_bytes(pickle.dumps({b"data": pixels, b"labels": labels}, protocol=2))
    names = [f"class {label}".encode() for label in range(10)]
    (folder / "batches.meta").write_bytes(pickle.dumps({b"label_names": names}, protocol=2))
    return root


@pytest.fixture(scope="session")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cifar(tmp_path_factory.mktemp("data"))


@pytest.fixture(autouse=True)
def fresh_data() -> None:
    """Each test reads its data itself, as a process does."""
    data.forget()


def pytest_collection_finish() -> None:
    """What the collector would walk through again and again: it was a sixth of all processor time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_collection(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions leave the collector as it is."""
    idle = SimpleNamespace(collect=int, freeze=int, unfreeze=int)
    monkeypatch.setattr(session, "gc", idle)


@pytest.fixture(autouse=True)
def no_measuring(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps are not measured before the first epoch, which takes as long as a small search; @measuring has it done."""
    if not request.node.get_closest_marker("measuring"):
        for module in (bilevel_loop, train_loop):
            monkeypatch.setattr(module, "measure", lambda *_, **__: preflight.Estimate(0.01, 2**30))


@pytest.fixture(autouse=True)
def no_random_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches place their cell among a hundred others, which takes longer than all else in a test."""
    from nas.commands import searching

    monkeypatch.setattr(searching, "chance_of", lambda *_: None)


@pytest.fixture
def nas(
    tmp_path: Path, cifar: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """``nas("search", …)`` → (exit status, stdout, stderr), in a folder of its own with the small data."""
    from nas import cli

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DATA", str(cifar))
    monkeypatch.delenv("NAS_RUNS", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.run(list(arguments))
        out, err = capsys.readouterr()
        return status, out, err

    return run


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
