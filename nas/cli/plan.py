"""nas plan"""

from typing import Annotated, Any

import typer

from nas.cli import common
from nas.cli.plan_output import print_plan
from nas.cli.study import OWN, SCATTER, Changes, Deviation, File, Methods, RetrainSeeds, Seeds, Spaces, settings_of
from nas.settings import WHAT, StudySettings

Detect = Annotated[
    float | None,
    typer.Option(min=1e-6, help="A difference from random cells to be seen, in points.", rich_help_panel=WHAT),
]


@common.with_settings(StudySettings, without=OWN)
def plan(
    file: File = None,
    detect: Detect = None,
    deviation: Deviation = SCATTER,
    space: Spaces = None,
    method: Methods = None,
    seeds: Seeds = None,
    retrain_seeds: RetrainSeeds = None,
    changes: Changes = None,
    ops: common.Ops = None,
    data_root: common.DataRoot = None,
    device: common.Device = None,
    threads: common.Threads = None,
    json: common.Json = False,
    **values: Any,
) -> None:
    """Tell how many seeds show a difference, and the hours they take: nas plan --space darts --detect 0.3."""
    from nas.commands import planning

    settings = settings_of(file, space, method, seeds, retrain_seeds, changes, values)
    execution = common.execution(device, threads, data_root)
    planned = planning.plan(
        settings,
        deviation=deviation / 100,
        detect=None if detect is None else detect / 100,
        ops=ops,
        execution=execution,
    )
    print_plan(planned, json)
