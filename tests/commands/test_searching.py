"""What a search of several seeds does with its cells."""

from dataclasses import replace
from pathlib import Path

from nas import search
from nas.bilevel.epoch import skip_share
from nas.commands.searching import ranking_of
from nas.execution import Execution
from nas.run.log import SearchEpoch
from nas.run.spec import TrainSpec
from tests.pages import made


def test_a_fifth_of_the_images_that_there_are_ranks_cells(tmp_path: Path) -> None:
    """A limit says how many may be taken: digits has 1,437."""
    child = made.search(tmp_path, replace(made.SEARCH, limit=4000))
    training = ranking_of(child, child, Execution("cpu", 1))
    assert training.spec(TrainSpec).settings.validation == 287


def test_the_share_of_skips_is_that_of_the_cell_that_is_selected(tmp_path: Path) -> None:
    """Here by a limit that cheap operations keep."""
    small = {"data": "digits", "limit": 64, "channels": 2, "cells": 2, "batch": 8, "epochs": 1, "threads": 1}
    sizes = {"final_channels": 4, "final_cells": 3, "chance": 0, "runs": tmp_path}
    found = search(space="darts+sandglass", max_madds="215K", **small, **sizes)
    assert found.genotype is not None
    assert found.result.skip_share == skip_share(found.genotype)
    assert found.result.skip_share != found.run.log(SearchEpoch)[-1].skip_share
