"""The charts of a tuning."""

import re
from types import SimpleNamespace
from typing import cast

from nas.pages.figure import drawn
from nas.pages.trials import Draw, outcome
from nas.tuning.results import TuneResult


def draw(number: int, sampler: str, budget: int, latency: float | None) -> Draw:
    return Draw(
        study=f"s-{sampler}",
        space="s",
        sampler=sampler,
        trial=number,
        accuracy=0.1 * number,
        madds=10**6 * number,
        budget=budget,
        latency_ms=latency,
        values={},
    )


DRAWS = [
    *(draw(1, "tpe", 10**7, 1.0), draw(2, "random", 10**7, 2.0)),
    *(draw(3, "tpe", 2 * 10**7, 3.0), draw(4, "random", 2 * 10**7, 4.0)),
]
FRONT = (DRAWS[0], DRAWS[2])
RESULT = cast(TuneResult, SimpleNamespace(budgets=(10**7, 2 * 10**7), best=(), published=(), front=FRONT))


def test_the_control_stands_beside_the_trials_and_each_budget_has_a_chart() -> None:
    words = re.findall(r"<text[^>]*>([^<]*)</text>", drawn(outcome(RESULT, DRAWS), "svg").decode())
    for word in ("s, tpe", "s, random", "front of random trials", "milliseconds an image", "Budget 10M: best so far"):
        assert word in words, word


def test_the_fronts_hold_what_none_beats() -> None:
    front, chance, *_ = outcome(RESULT, DRAWS)[0].series
    assert [x for x, _ in front.points] == [1.0, 3.0]
    assert [x for x, _ in chance.points] == [2.0, 4.0] and chance.dashed


def test_a_tuning_without_latency_has_no_chart_of_it() -> None:
    timeless = [draw(one.trial, one.sampler, one.budget, None) for one in DRAWS]
    assert len(outcome(RESULT, timeless)) == len(outcome(RESULT, DRAWS)) - 1


def test_the_best_so_far_never_falls() -> None:
    worse = [*DRAWS, draw(0, "tpe", 10**7, None)]
    (best,) = [one for one in outcome(RESULT, worse)[2].series if one.name == "s-tpe, best so far"]
    assert [y for _, y in best.points] == [0.1, 0.1]
