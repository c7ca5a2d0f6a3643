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


# 3: unequal shares of a batch of 20 images, and of its parts of 6, 7 and 7
@pytest.mark.parametrize("size", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients_are_those_of_one_worker(size: int, tmp_path: Path) -> None:
    found = several(size, tmp_path)
    for name, one in one_worker.both(Team).items():
        assert one.keys() == found[0][name].keys()
        assert sum(key.startswith("gradient") for key in one) > 20
        for key, value in one.items():
            torch.testing.assert_close(found[0][name][key], value, rtol=1e-9, atol=1e-9, msg=f"{name}: {key}")
            for other in found[1:]:
                assert torch.equal(other[name][key], found[0][name][key]), f"{name}: {key}: workers differ"


@pytest.mark.parametrize(("batch", "accumulate", "size"), [(10, 1, 3), (96, 1, 5), (8, 1, 1), (8, 1, 4), (23, 3, 3)])
def test_shares_make_up_the_batch(batch: int, accumulate: int, size: int) -> None:
    teams = [Team(batch, accumulate, rank, size) for rank in range(size)]
    assert sorted(torch.cat([team.places for team in teams]).tolist()) == list(range(batch))
    for team in teams:
        turns = [team.places[turn].tolist() for turn in team.turns()]
        assert turns == [list(team.share(part)) for part in team.parts]


@pytest.mark.parametrize(("batch", "accumulate", "size"), [(8, 1, 5), (20, 5, 3)])
def test_too_many_workers(batch: int, accumulate: int, size: int) -> None:
    with pytest.raises(UsageError, match=f"--workers {size}.*: a --batch of {batch}"):
        Team(batch, accumulate, 0, size)
