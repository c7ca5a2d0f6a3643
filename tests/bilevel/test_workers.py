"""A search that several ranks share is that of one process: real processes of a gloo group, in float64."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from nas.train.process_group import ProcessGroup
from tests.bilevel import one_searcher
from tests.ranks import assert_as_one, several

FEW = ("merged", "reference", "paths")


@pytest.mark.parametrize("names", [FEW, pytest.param([*one_searcher.CHANGES], marks=pytest.mark.slow)])
def test_both_gradients_are_those_of_one_process(names: Sequence[str], tmp_path: Path) -> None:
    one = one_searcher.steps(names, ProcessGroup(12))
    for name, tensors in one.items():
        assert any(key.startswith("gradient of alphas") for key in tensors), name
        assert sum(key.startswith("gradient of network") for key in tensors) > 20, name
    assert_as_one(several(one_searcher, 2, tmp_path, *names), one)
