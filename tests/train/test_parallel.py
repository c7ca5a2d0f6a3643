"""Several workers compute what one does: real processes of a gloo group, in float64."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from nas.errors import UsageError
from nas.train.parallel import Team
from tests.train import one_worker


def several(size: int, folder: Path) -> list[dict[str, dict[str, torch.Tensor]]]:
    """What each of ``size`` workers found."""
    out, program = str(folder / "found"), one_worker.__file__
    words = [[sys.executable, program, str(folder / "meeting"), str(rank), str(size), out] for rank in range(size)]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for command in words]
    for process in processes:
        _, err = process.communicate(timeout=120)
        assert process.returncode == 0, err.decode()
    return [torch.load(f"{out}.{rank}", weights_only=True) for rank in range(size)]


@pytest.fixture(scope="module")
def alone() -> dict[str, dict[str, torch.Tensor]]:
    """What one worker finds."""
    return {
        name: one_worker.two_steps(architecture, Team(10)) for name, architecture in one_worker.architectures().items()
    }


@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow)])  # 3: unequal parts of a batch of 10
def test_gradients_are_those_of_one_worker(
    size: int, alone: dict[str, dict[str, torch.Tensor]], tmp_path: Path
) -> None:
    found = several(size, tmp_path)
    for name, one in alone.items():
        assert one.keys() == found[0][name].keys()
        assert sum(key.startswith("gradient") for key in one) > 20
        for key, value in one.items():
            torch.testing.assert_close(found[0][name][key], value, rtol=1e-9, atol=1e-9, msg=f"{name}: {key}")
            for other in found[1:]:
                assert torch.equal(other[name][key], found[0][name][key]), f"{name}: {key}: workers differ"


@pytest.mark.parametrize(("batch", "size"), [(10, 3), (96, 5), (8, 1), (8, 4)])
def test_parts_make_up_the_batch(batch: int, size: int) -> None:
    teams = [Team(batch, rank, size) for rank in range(size)]
    assert [place for team in teams for place in range(batch)[team.part]] == list(range(batch))
    assert sum(team.scale for team in teams) == pytest.approx(size)


def test_too_many_workers() -> None:
    with pytest.raises(UsageError, match="--workers 5: a --batch of 8"):
        Team(8, 0, 5)
