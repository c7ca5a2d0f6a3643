"""The front, the best of each study, intervals and differences."""

from nas.tuning.report import best, front, table


def trial(number: int, madds: int, accuracy: float | None, sampler: str = "tpe", state: str = "complete") -> dict:  # type: ignore[type-arg]
    shared = {"space": "s", "budget": 10, "values": {"width": 1.0}, "study": f"s-{sampler}"}
    return {**shared, "trial": number, "madds": madds, "accuracy": accuracy, "sampler": sampler, "state": state}


def test_the_front_holds_what_none_beats() -> None:
    trials = [trial(0, 10, 0.5), trial(1, 8, 0.6), trial(2, 9, 0.6), trial(3, 12, 0.7), trial(4, 7, 0.1)]
    assert [one["trial"] for one in front([*trials, trial(5, 1, 0.9, state="pruned")])] == [4, 1, 3]


def test_the_best_is_the_most_accurate_then_the_cheapest() -> None:
    trials = [trial(0, 10, 0.5), trial(1, 8, 0.5), trial(2, 1, None, state="pruned"), trial(3, 9, 0.4, "random")]
    assert [(one["trial"], one["sampler"]) for one in best(trials)] == [(1, "tpe"), (3, "random")]


def test_the_table_has_every_draw() -> None:
    lines = table([trial(0, 10, 0.5), {**trial(1, 0, None, state="fail"), "values": None}]).splitlines()
    assert len(lines) == 3 and '"{""width"": 1.0}"' in lines[1]
