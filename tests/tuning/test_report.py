"""The front, the best of each study, intervals and differences."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from nas.run.folder import Run
from nas.run.results import TrainResult
from nas.tuning.front import best, final, pareto
from nas.tuning.report import compare, table
from nas.tuning.results import Final, PublishedResult, TrialResult, TuneResult
from nas.tuning.tables import best_trials, finals, nearest

TRIAL = TrialResult(
    study="s-tpe",
    space="s",
    sampler="tpe",
    trial=0,
    accuracy=0.5,
    madds=10,
    params=1,
    seconds=1.0,
    overhead_seconds=0.1,
    training_seconds=1.0,
    values={"width": 1.0},
    budget=10**7,
    budget_madds=10,
    gap=0.0,
    folder="trials/s-tpe/0000",
    image_size=32,
)


def trial(number: int, madds: int, accuracy: float, sampler: str = "tpe") -> TrialResult:
    return replace(TRIAL, trial=number, madds=madds, accuracy=accuracy, sampler=sampler)


def test_the_front_holds_what_none_beats() -> None:
    trials = [trial(0, 10, 0.5), trial(1, 8, 0.6), trial(2, 9, 0.6), trial(3, 12, 0.7), trial(4, 7, 0.1)]
    assert [one.trial for one in pareto(trials)] == [4, 1, 3]


def test_the_best_is_the_most_accurate_then_the_cheapest() -> None:
    trials = [trial(0, 10, 0.5), trial(1, 8, 0.5), trial(3, 9, 0.4, "random")]
    assert [(one.trial, one.sampler) for one in best(trials)] == [(1, "tpe"), (3, "random")]


def test_the_table_has_every_draw() -> None:
    draws = [{"study": "s", "trial": 0, "state": "complete", "values": {"width": 1.0}}, {"study": "s", "state": "fail"}]
    lines = table(draws).splitlines()
    assert len(lines) == 3 and '"{""width"": 1.0}"' in lines[1]


def test_winners_are_compared_with_the_first_of_their_budget(tmp_path: Path) -> None:
    accuracies = {("a", 0): 0.5, ("a", 1): 0.6, ("b", 0): 0.9, ("b", 1): 0.8}
    winners = [replace(TRIAL, space=space) for space in ("a", "b")]
    for (space, seed), accuracy in accuracies.items():
        folder = tmp_path / final(replace(TRIAL, space=space), seed)
        folder.mkdir(parents=True)
        result = TrainResult(
            test_accuracy=accuracy,
            test_loss=1.0,
            valid_accuracy=None,
            params=1,
            madds=1,
            seed=seed,
            recipe="0",
            seconds=1.0,
            hardware="",
            test_openings=1,
        )
        Run(folder).write("result.json", result)
    first, second = compare(Run(tmp_path), winners, [0, 1])
    assert (first.space, first.p_against_first, second.space) == ("b", None, "a")
    assert second.p_against_first is not None and 0 < second.p_against_first < 0.2
    assert first.interval is not None and first.interval[0] < first.test_accuracy < first.interval[1]
    assert compare(Run(tmp_path), winners, [0])[0].interval is None


def row(space: str, n: int, p: float | None) -> Final:
    return Final(
        budget=10**7,
        space=space,
        seeds=tuple(range(n)),
        n=n,
        test_accuracies=(0.5,) * n,
        test_accuracy=0.5,
        interval=None,
        p_against_first=p,
    )


def test_winners_differ_by_three_seeds_a_side_and_a_corrected_p() -> None:
    few = SimpleNamespace(finals=(row("a", 2, None), row("b", 5, 0.001)))
    enough = SimpleNamespace(finals=(row("a", 3, None), row("b", 3, 0.03), row("c", 3, 0.04), row("d", 3, 0.01)))
    (said,) = [line[-1] for line in finals(cast(TuneResult, few)).rows if line[1] == "b"]
    assert said == "p = 0.001, 2 seeds are too few to say more"
    assert [line[-1] for line in finals(cast(TuneResult, enough)).rows[1:]] == [
        "p = 0.060, no difference shown",
        "p = 0.060, no difference shown",
        "p = 0.030, differs",
    ]


def test_what_is_counted_elsewhere_stands_under_its_budget() -> None:
    """A published setting of 88M where it is trained, and of 299.5M at the budgets' resolution."""
    entry = PublishedResult("my-net-width1.0", {}, 0.5, 88 * 10**6, 1, 1.0, space="my-net", budget_madds=299_500_000)
    result = SimpleNamespace(budgets=(10**8, 3 * 10**8), best=(), published=(entry,))
    (shown,) = best_trials(cast(TuneResult, result)).rows
    assert shown[:2] == ["300M", "my-net"] and "299.50M" in shown and "88.00M" in shown
    assert nearest(entry.madds, result.budgets) == 10**8
