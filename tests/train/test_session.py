"""What every long loop needs, beside what resuming tests."""

import gc
from pathlib import Path

from nas.execution import Execution
from nas.run.folder import create
from nas.run.log import Epoch
from nas.run.spec import TrainSpec
from nas.settings import TrainSettings
from nas.train.session import Session


def test_the_collector_leaves_what_a_loop_begins_with_alone(tmp_path: Path) -> None:
    run = create(tmp_path, "retrain", TrainSpec(settings=TrainSettings(), execution=Execution()))
    before = gc.get_freeze_count()
    with Session(run, {}, Epoch, epochs=1, steps=1, title="", quiet=True):
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0
