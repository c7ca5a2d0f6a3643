"""benchmarks/gpu_search.py, very small on a CPU: each figure is kept as it comes, what is there is not done again."""

import sys
import time
from pathlib import Path

import pytest

from benchmarks import gpu_search
from benchmarks.figures import Figures, read


def call(monkeypatch: pytest.MonkeyPatch, out: Path, *options: str) -> dict[str, Figures]:
    monkeypatch.setattr(sys, "argv", ["gpu_search", "--smoke", "--repeats", "1", "--out", str(out), *options])
    gpu_search.main()
    return read(out)


@pytest.mark.parametrize("name", ["darts 64 bf16 library recorded", "darts 64 bf16 textbook eager", "retrain 96 *"])
def test_a_way_is_measured_once(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = call(monkeypatch, tmp_path / "found.json", "--only", name)
    assert found and not any(each.error for each in found.values())
    assert all(each.step and each.first and each.kernels for each in found.values())
    monkeypatch.setattr(gpu_search, "measured", lambda way, seconds: pytest.fail("it is there"))
    assert call(monkeypatch, tmp_path / "found.json", "--only", name) == found


def test_a_search_is_measured_by_its_epochs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (found,) = call(monkeypatch, tmp_path / "found.json", "--only", "darts 64 bf16 library search of 2").values()
    assert found.epoch and not found.error and found.search is None


def test_an_error_is_a_result_and_time_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(self: gpu_search.Bench, *_: object) -> None:
        raise RuntimeError("a long\nstory of a kernel")

    monkeypatch.setattr(gpu_search.Bench, "measure_steps", broken)
    found = call(monkeypatch, tmp_path / "found.json", "--only", "darts 64 bf16 l*", "--seconds", "0")
    assert not found
    found = call(monkeypatch, tmp_path / "found.json", "--only", "darts 64 bf16 library [re]*")
    assert [each.error for each in found.values()] == ["RuntimeError: story of a kernel"] * 2
    assert "story of a kernel" in capsys.readouterr().out


def test_a_way_has_so_much_time() -> None:
    slow = gpu_search.Way("darts 64 bf16 slow", lambda: time.sleep(5) or Figures())
    found = gpu_search.measured(slow, 0.1)
    assert found.error.startswith("TimeoutError") and not found.final
