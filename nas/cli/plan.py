"""nas plan"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli import common
from nas.cli.study import OWN, SCATTER, Changes, Deviation, File, Methods, RetrainSeeds, Seeds, Spaces, settings_of
from nas.settings import WHAT, StudySettings

if TYPE_CHECKING:
    from nas.commands.planning import Plan

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


def print_plan(plan: "Plan", json: bool) -> None:
    """Prints the trainings, their hours, and what they could see."""
    from dataclasses import asdict

    hours = plan.device_hours(plan.seeds, plan.controls)
    more = plan.device_hours(plan.needed, plan.needed) if plan.needed else None
    if json:
        figures = {"trainings": plan.trainings, "device_hours": hours, "device_hours_needed": more}
        common.print_json({**asdict(plan), **figures})
        return
    for arm in plan.arms:
        print(
            f"{arm.space} by {arm.method}: a search takes {arm.search_seconds / 3600:.2g} h, "
            f"a training {arm.training_seconds / 3600:.2g} h"
        )
    parts = ", ".join(f"{count} {NOUNS[role]}" for role, count in plan.trainings.items())
    print(f"{parts}: {hours:.3g} device-hours, by one measured step of each; evaluations come on top")
    scatter = f"cells that scatter by {100 * plan.deviation:.2g} points (--deviation; less training scatters more)"
    sees = (
        "sees no difference: three a side are the least" if plan.sees is None else f"sees {100 * plan.sees:.2f} points"
    )
    print(f"{plan.seeds} searches against {plan.controls} random cells {sees}, with 80 % power, in {scatter}")
    if plan.detect is None:
        return
    if plan.needed is None:
        print(f"{100 * plan.detect:.2g} points take more than ten thousand seeds a side")
        return
    print(
        f"{100 * plan.detect:.2g} points take {plan.needed} searches and as many random cells: {more:.3g} device-hours"
    )


NOUNS = {"search": "searches", "retrain": "trainings of found cells", "control": "trainings of random cells"}
