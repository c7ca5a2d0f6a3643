"""Several ranks compute what one process does: real processes of a gloo group, in float64."""

from pathlib import Path

import pytest
import torch

from nas.errors import UsageError
from nas.train.process_group import ProcessGroup
from tests.ranks import assert_as_one, several
from tests.train import one_worker


# 3: unequal shares of a batch of 20 images, and of its parts of 6, 7 and 7
@pytest.mark.parametrize("world_size", [3, pytest.param(2, marks=pytest.mark.slow)])
def test_gradients_are_those_of_one_process(world_size: int, tmp_path: Path) -> None:
    one = one_worker.both(ProcessGroup)
    assert all(sum(key.startswith("gradient") for key in tensors) > 20 for tensors in one.values())
    assert_as_one(several(one_worker, world_size, tmp_path), one)


@pytest.mark.parametrize(
    ("batch", "accumulate", "world_size"), [(10, 1, 3), (96, 1, 5), (8, 1, 1), (8, 1, 4), (23, 3, 3)]
)
def test_shards_make_up_the_batch(batch: int, accumulate: int, world_size: int) -> None:
    groups = [ProcessGroup(batch, accumulate, rank, world_size) for rank in range(world_size)]
    assert sorted(torch.cat([group.places for group in groups]).tolist()) == list(range(batch))
    for group in groups:
        places = [group.places[part].tolist() for part in group.slices()]
        assert places == [list(group.shard(microbatch)) for microbatch in group.microbatches]


@pytest.mark.parametrize(("batch", "accumulate", "world_size"), [(8, 1, 5), (20, 5, 3)])
def test_too_many_workers(batch: int, accumulate: int, world_size: int) -> None:
    with pytest.raises(UsageError, match=f"--workers {world_size}.*: a --batch of {batch}"):
        ProcessGroup(batch, accumulate, 0, world_size)
