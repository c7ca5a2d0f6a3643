"""What a search of several seeds does with its cells."""

from dataclasses import replace
from pathlib import Path

from nas.commands.searching import ranking_of
from nas.execution import Execution
from nas.run.spec import TrainSpec
from tests.pages import made


def test_a_fifth_of_the_images_that_there_are_ranks_cells(tmp_path: Path) -> None:
    """A limit says how many may be taken: digits has 1,437."""
    child = made.search(tmp_path, replace(made.SEARCH, limit=4000))
    training = ranking_of(child, child, Execution("cpu", 1))
    assert training.spec(TrainSpec).settings.validation == 287
