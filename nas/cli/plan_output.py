"""A plan as text."""

from dataclasses import asdict
from typing import TYPE_CHECKING

from nas.cli.common import print_json

if TYPE_CHECKING:
    from nas.commands.planning import Plan

NOUNS = {"search": "searches", "retrain": "trainings of found cells", "control": "trainings of random cells"}


def print_plan(plan: "Plan", json: bool) -> None:
    """Prints the trainings, their hours, and what they could see."""
    hours = plan.device_hours(plan.seeds, plan.controls)
    more = plan.device_hours(plan.needed, plan.needed) if plan.needed else None
    if json:
        figures = {"trainings": plan.trainings, "device_hours": hours, "device_hours_needed": more}
        print_json({**asdict(plan), **figures})
        return
    for arm in plan.arms:
        print(
            f"{arm.space} by {arm.method}: a search takes {arm.search_seconds / 3600:.2g} h, "
            f"a training {arm.training_seconds / 3600:.2g} h"
        )
    parts = ", ".join(f"{count} {NOUNS[role]}" for role, count in plan.trainings.items())
    print(f"{parts}: {hours:.3g} device-hours, by one measured step of each; evaluations come on top")
    scatter = f"cells that scatter by {100 * plan.deviation:.2g} points (--deviation; less training scatters more)"
    sees = "see no difference: three a side are the least" if plan.sees is None else f"see {100 * plan.sees:.2f} points"
    print(f"{plan.seeds} searches against {plan.controls} random cells {sees}, with 80 % power, in {scatter}")
    if plan.detect is None:
        return
    if plan.needed is None:
        print(f"{100 * plan.detect:.2g} points take more than ten thousand seeds a side")
        return
    print(
        f"{100 * plan.detect:.2g} points take {plan.needed} searches and as many random cells: {more:.3g} device-hours"
    )
