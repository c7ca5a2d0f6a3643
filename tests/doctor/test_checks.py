"""Every check says ok where all is well, and something else where what it checks is broken."""

import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.bilevel.gradients import Learner
from nas.doctor import images, machine, numerics, resuming, software
from nas.doctor.check import Case, Check, Line
from nas.engine.library import backend as library_backend
from nas.engine.native import compiler, kernels
from nas.execution import Execution
from nas.run.folder import Run
from nas.train.session import Session
from tests.conftest import write_cifar

Patch = pytest.MonkeyPatch


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(Execution(device="cpu", data_root=tmp_path / "data"), tmp_path / "runs")


def assert_says(check: Check, case: Case, state: str, text: str) -> Line:
    line = check(case)
    assert line.state == state and text in line.text, line
    assert (line.advice != "") == (state != "ok")
    return line


def with_version(patch: Patch, package: str, version: str | None) -> None:
    """Has a package of that version, or none."""
    whole = metadata.version

    def other(name: str) -> str:
        if name == package and version is None:
            raise metadata.PackageNotFoundError(name)
        return version if name == package and version else whole(name)

    patch.setattr(software.metadata, "version", other)


def test_versions(case: Case, monkeypatch: Patch) -> None:
    needs = ["numpy>=2.0", 'optuna>=5.0; extra == "tune"', 'tomli; python_version < "3"']
    monkeypatch.setattr(software.metadata, "requires", lambda name: needs)
    assert_says(software.versions, case, "ok", "Python")
    with_version(monkeypatch, "numpy", "1.26.4")
    assert_says(software.versions, case, "broken", "numpy 1.26.4 is not >=2.0")
    with_version(monkeypatch, "numpy", None)
    assert_says(software.versions, case, "broken", "numpy is missing")


def test_not_installed(case: Case, monkeypatch: Patch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(software.metadata, "requires", requires)
    assert_says(software.versions, case, "warning", "not installed")
    assert_says(software.extras, case, "ok", "")


def test_extras(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(software.metadata, "requires", lambda name: ['numpy>=2.0; extra == "tune"'])
    assert_says(software.extras, case, "ok", "all are installed")
    with_version(monkeypatch, "numpy", None)
    assert_says(software.extras, case, "ok", "[tune]'")
    with_version(monkeypatch, "numpy", "1.0")
    assert_says(software.extras, case, "warning", "numpy 1.0 is not >=2.0")


def test_compiler(case: Case, monkeypatch: Patch, tmp_path: Path) -> None:
    script = tmp_path / "compiler"
    script.write_text("#!/bin/sh\necho our compiler 1.2\n")
    script.chmod(0o755)
    for command, state, text in (
        (str(script), "ok", "our compiler 1.2"),
        ("no-such-compiler -O3", "warning", "there is no no-such-compiler"),
        ("", "warning", "CXX is empty"),
    ):
        monkeypatch.setenv("CXX", command)
        assert_says(software.compiler, case, state, text)


@pytest.fixture
def port() -> Iterator[int]:
    """A port at which something listens."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        yield server.getsockname()[1]


def test_ray(case: Case, monkeypatch: Patch, port: int) -> None:
    with_version(monkeypatch, "ray", "9.9")
    monkeypatch.setattr(software, "PORTS", {})
    assert_says(software.ray, case, "ok", "Ray 9.9")
    monkeypatch.setattr(software, "PORTS", {port: "a cluster"})
    assert_says(software.ray, case, "warning", f"{port} (a cluster)")
    monkeypatch.setattr(software, "LOOPBACK", "192.0.2.1")  # of no machine
    assert_says(software.ray, case, "broken", "no connection to 192.0.2.1")
    with_version(monkeypatch, "ray", None)
    assert_says(software.ray, case, "ok", "not installed")


def test_device(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert_says(machine.device, case, "ok", "no GPU")
    monkeypatch.setattr(machine.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert_says(machine.device, case, "warning", "torch cannot use it")


def test_device_of_a_gpu(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Case, "device", "cuda")
    monkeypatch.setattr(machine, "hardware", lambda: "a GPU")
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert_says(machine.device, case, "warning", "without Triton")
    monkeypatch.setattr(machine, "find_spec", lambda name: "there")
    monkeypatch.setattr(machine.metadata, "version", lambda name: "3.9")
    assert_says(machine.device, case, "ok", "a GPU, Triton 3.9")


def test_threads(case: Case, monkeypatch: Patch) -> None:
    assert_says(machine.threads, case, "ok", "1 threads")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1000)
    assert_says(machine.threads, case, "warning", "1000 threads")


@pytest.mark.parametrize(("name", "factor"), [("fp32", 1.001), ("bf16", 1.1), ("fp32", float("nan"))])
def test_precision(name: str, factor: float, case: Case, monkeypatch: Patch) -> None:
    assert_says(machine.precision, case, "ok", "fp32")
    whole = machine.error

    def error(images: Any, weight: Any, exact: Any, kind: str, device: str) -> float:
        return whole(images * factor if kind == name else images, weight, exact, kind, device)

    monkeypatch.setattr(machine, "error", error)
    assert_says(machine.precision, case, "broken", f"too much in {name}")


def test_precision_of_a_gpu(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(Case, "device", "cuda")
    monkeypatch.setattr(machine, "error", lambda *_: 1e-3)
    for allowed, state in ((True, "ok"), (False, "broken")):
        monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", allowed)
        assert_says(machine.precision, case, state, "tf32" if allowed else "too much in fp32")


def test_memory(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(machine, "free_memory", lambda device: 3 * 2**30)
    assert_says(machine.memory, case, "ok", "3.0 GiB")
    monkeypatch.setattr(machine, "free_memory", lambda device: 2**30)
    assert_says(machine.memory, case, "warning", "1.0 GiB")


def test_disk(case: Case, monkeypatch: Patch) -> None:
    usage = shutil.disk_usage("/")._replace(free=3 * 2**30)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage)
    assert_says(machine.disk, case, "ok", "runs: 3.0 GiB free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=2**20))
    assert_says(machine.disk, case, "warning", "cache: 0.0 GiB")
    monkeypatch.setattr(machine.os, "access", lambda path, how: False)
    assert_says(machine.disk, case, "broken", "cannot be written (runs)")


def test_digits(case: Case, monkeypatch: Patch) -> None:
    assert_says(images.digits, case, "ok", images.DIGITS)
    monkeypatch.setattr(images, "DIGITS", "0")
    assert_says(images.digits, case, "warning", "not 0")


def test_cifar(case: Case, monkeypatch: Patch, tmp_path: Path) -> None:
    check = images.cifar("cifar10")
    assert_says(check, case, "ok", "downloaded at first use")
    assert not (tmp_path / "data").exists(), "nothing is downloaded"
    folder = write_cifar(tmp_path / "data") / "cifar-10-batches-py"
    assert_says(check, case, "warning", "100 + 20 images")
    monkeypatch.setattr("nas.data.cifar._check", lambda *_: True)
    images.data.forget()
    assert_says(check, case, "ok", "digest")
    (folder / "test_batch").write_bytes(b"damaged")
    images.data.forget()
    assert_says(check, case, "broken", "test_batch")


def scaled(function: Callable[..., Any], share: float) -> Callable[..., Any]:
    """What gives a slightly larger result."""
    return lambda *words, **names: tuple(each * (1 + share) for each in function(*words, **names))


@pytest.mark.skipif(kernels.library() is None, reason="no C++ compiler")
def test_compiled_kernels(case: Case, monkeypatch: Patch) -> None:
    from nas.engine.native import backend

    check = numerics.engine("native")
    assert_says(check, case, "ok", "differ")
    monkeypatch.setattr(backend, "add_up", scaled(backend.add_up, 1e-6))
    assert_says(check, case, "broken", "differ")


@pytest.mark.skipif(kernels.library() is None, reason="no C++ compiler")
def test_small_gradients_do_not_hide_behind_large_ones(case: Case, monkeypatch: Patch) -> None:
    """The alphas' alone are off, and of the second engine alone."""
    whole, calls = torch.autograd.grad, iter((0.0, 1e-7))

    def grad(loss: Any, parameters: Any) -> list[torch.Tensor]:
        first, *rest = whole(loss, parameters)
        return [first * (1 + next(calls)), *rest]

    monkeypatch.setattr(numerics.torch.autograd, "grad", grad)
    assert_says(numerics.engine("native"), case, "broken", "differ")


def test_no_compiled_kernels(case: Case, monkeypatch: Patch) -> None:
    monkeypatch.setattr(numerics, "library", lambda: None)
    assert_says(numerics.engine("native"), case, "warning", "C++ compiler")


def test_kernels_of_another_layout(case: Case, monkeypatch: Patch) -> None:
    """Which raises: see test_registry."""
    if compiler.library() is None:
        pytest.skip("no C++ compiler")
    monkeypatch.setattr(kernels, "VERSION", -1)
    monkeypatch.setattr(numerics, "library", kernels.library.__wrapped__)
    with pytest.raises(RuntimeError, match="segment_layout"):
        numerics.engine("native")(case)


def test_library_back_end(case: Case, monkeypatch: Patch) -> None:
    check = numerics.engine("library")
    assert_says(check, case, "ok", "differ")
    whole = library_backend.convolve
    monkeypatch.setattr(library_backend, "convolve", lambda *words: whole(*words) * (1 + 1e-6) + 1e-6)
    assert_says(check, case, "broken", "differ")


def test_triton_back_end(case: Case, monkeypatch: Patch) -> None:
    check = numerics.engine("triton")
    monkeypatch.setattr(numerics.Triton, "available", staticmethod(lambda device: False))
    assert_says(check, case, "ok", "not there")
    monkeypatch.setattr(numerics.Triton, "available", staticmethod(lambda device: True))
    for off, state in ((1e-5, "ok"), (1e-2, "broken"), (float("inf"), "broken")):
        monkeypatch.setattr(numerics, "distance_of", lambda *_, off=off: off)
        assert_says(check, case, state, "differ")


def test_first_order(case: Case, monkeypatch: Patch) -> None:
    assert_says(numerics.first_order, case, "ok", "autograd")
    whole = Learner.differentiate

    def differentiate(self: Learner, learning: Any, *words: Any) -> Any:
        result = whole(self, learning, *words)
        learning[0].grad.mul_(1 + 1e-4)
        return result

    monkeypatch.setattr(Learner, "differentiate", differentiate)
    assert_says(numerics.first_order, case, "broken", "autograd")


def test_second_order(case: Case, monkeypatch: Patch) -> None:
    assert_says(numerics.second_order, case, "ok", "Hessian")
    whole = numerics.hessian_vector

    def careless(learner: Any, data: Any, vector: Any, scale: float) -> list[torch.Tensor]:
        """(p − n) / 2 · ε"""
        epsilon = scale / float(torch.cat([part.flatten() for part in vector]).norm())
        return [part * epsilon**2 for part in whole(learner, data, vector, scale)]

    monkeypatch.setattr(numerics, "hessian_vector", careless)
    assert_says(numerics.second_order, case, "broken", "Hessian")


def test_a_gradient_of_nan_is_far_off() -> None:
    assert numerics.distance([torch.tensor([torch.nan])], [torch.ones(1)]) == float("inf")


@pytest.mark.parametrize("check", [resuming.resumed_search, resuming.resumed_training])
def test_resuming(check: Check, case: Case, monkeypatch: Patch) -> None:
    assert_says(check, case, "ok", "equal in every bit")
    whole = Session._load

    def load(self: Session[Any], state: Any) -> None:
        """Without the weights' optimiser."""
        kept = {name: part.state_dict() for name, part in self.parts.items() if name in ("weights", "optimizer")}
        whole(self, replace(state, parts={**state.parts, **kept}))

    monkeypatch.setattr(Session, "_load", load)
    assert_says(check, case, "broken", "tensors differ")


def test_resuming_leaves_nothing(case: Case, tmp_path: Path, monkeypatch: Patch) -> None:
    made: list[Path] = []

    def do(run: Run, watch: resuming.Watch) -> dict[str, torch.Tensor]:
        made.append(run.path)
        return {"weight": torch.ones(1)}

    spec = resuming.TrainSpec(settings=resuming.TrainSettings(), execution=case.execution)
    assert resuming.compared(spec, do).state == "ok"
    assert len(made) == 3 and made[1] == made[2] and not any(path.exists() for path in made)
