"""Progressive searches: where stages begin, which operations stay, what is carried over."""

import pytest
import torch

from nas.bilevel.build import build_supernet
from nas.bilevel.gradients import Batch, Learner
from nas.bilevel.stages import carry, restrict, space_of_stage, stage_at, stages, whole_name
from nas.cells.supernet import Supernet
from nas.moment import Moment
from nas.presets import resolve_search
from nas.settings import SearchSettings
from nas.space import CellSpace, load

SPACE = CellSpace("small", "", 2, {"none": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def test_stages_by_hand() -> None:
    plan = stages(resolve_search("paper", {"method": "p-darts", "epochs": 25}))
    assert [(stage.first, stage.last, stage.keep) for stage in plan] == [(0, 8, None), (8, 16, 5), (16, 25, 3)]
    assert [stage.settings.cells for stage in plan] == [5, 11, 17]
    assert [plan[1].learns_alphas(epoch) for epoch in (8, 10, 11)] == [False, False, True], "0.4 of 8 is 3"
    assert [stage_at(plan, epochs).number for epochs in (0, 0.5, 8, 8.1, 25)] == [0, 0, 0, 1, 2]
    assert [stage.settings.partial for stage in stages(resolve_search("paper", {"method": "drnas"}))] == [4, 2]
    assert len(stages(SearchSettings())) == 1


def test_the_strongest_operations_stay() -> None:
    rows = {
        "normal": [[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0], *[[0.0] * 4] * 3],
        "reduce": [[9.0, -1.0, 0.0, 8.0], *[[0.0] * 4] * 4],
    }
    choices = restrict(SPACE, rows, 2).choices
    assert choices["normal"][:3] == (
        ("none", "avg_pool_3x3"),
        ("skip_connect", "sep_conv_3x3"),
        ("none", "avg_pool_3x3"),
    )
    assert choices["reduce"][0] == ("none", "sep_conv_3x3")
    assert restrict(SPACE, rows, 1).choices["reduce"][0] == ("sep_conv_3x3",), "a cell cannot have none alone"
    again = restrict(restrict(SPACE, rows, 3), {"normal": [[9.0, 0, 0, 9.0]] * 5, "reduce": [[0.0] * 4] * 5}, 2)
    assert again.choices["normal"][1] == ("avg_pool_3x3", "sep_conv_3x3"), "of those that were left"


@pytest.mark.parametrize("name", ["darts", "nasbench201"])
def test_a_single_operation_is_not_none(name: str) -> None:
    space = load(name)
    alphas = {kind: [[float(op == "none") for op in space.ops]] * space.edges for kind in space.kinds}
    assert all("none" not in names for edges in restrict(space, alphas, 1).choices.values() for names in edges)


def test_the_space_of_each_stage_comes_from_the_log() -> None:
    plan = stages(SearchSettings(epochs=6, keep="3,1"))
    rows = {
        epoch: {kind: [[float(epoch == 1), 0.5, 0.25, 2.0]] * 5 for kind in ("normal", "reduce")} for epoch in (1, 3)
    }
    assert space_of_stage(SPACE, plan, plan[0], rows.__getitem__) == SPACE
    assert space_of_stage(SPACE, plan, plan[1], rows.__getitem__).choices["normal"][0] == (
        "none",
        "avg_pool_3x3",
        "sep_conv_3x3",
    )
    assert space_of_stage(SPACE, plan, plan[2], rows.__getitem__).choices["normal"][0] == ("sep_conv_3x3",)


def learner_of(partial: int, space: CellSpace, seed: int) -> Learner:
    settings = SearchSettings(channels=8, cells=3, partial=partial, seed=seed, edge_weights=False)
    return Learner(build_supernet(settings, space, 3), settings)


def parameters(supernet: Supernet) -> dict[str, torch.nn.Parameter]:
    return {whole_name(name): parameter for name, parameter in supernet.named_parameters()}


@pytest.mark.parametrize(("before", "after"), [(4, 2), (2, 1), (1, 1)])
def test_everything_is_carried_over(before: int, after: int) -> None:
    """Alphas, weights and momenta: the channels that were there are the same, and a new one copies one of them."""
    old = learner_of(before, SPACE, 0)
    images: Batch = (torch.randn(4, 3, 8, 8), torch.randint(3, (4,)))
    old.step(Moment(0), images, images)
    rows = {kind: alpha.tolist() for kind, alpha in old.supernet.alphas.items()}
    new = learner_of(after, restrict(SPACE, rows, 2), 1)
    (_, stage) = stages(SearchSettings(keep="2"))
    carry(old, new, stage)
    was, now = parameters(old.supernet), parameters(new.supernet)
    assert set(now) <= set(was) and any(".edges." in name for name in now)
    for name, parameter in now.items():
        momentum = [
            each.weight_optimizer.state[own].get("momentum_buffer")
            for each, own in ((old, was[name]), (new, parameter))
            if own in each.weight_optimizer.state
        ]
        for have, got in [(was[name], parameter), *([tuple(momentum)] if len(momentum) == 2 else [])]:
            assert have is not None and got is not None
            kept = got[tuple(slice(size) for size in have.shape)]
            assert torch.equal(kept, have), name
            if got.shape[0] > have.shape[0]:
                columns = got[:, : have.shape[1]] if got.dim() > 1 else got
                assert all(any(torch.equal(row, source) for source in have) for row in columns[have.shape[0] :]), name
    moments = [sum(len(each.alpha_optimizer.state[alpha]) for alpha in each.alphas) for each in (old, new)]
    assert moments[0] == moments[1] > 0


def test_a_later_stage_costs_less() -> None:
    whole = learner_of(1, load("darts"), 0)
    rows = {kind: [list(map(float, range(8)))] * 14 for kind in ("normal", "reduce")}
    left = learner_of(1, restrict(load("darts"), rows, 2), 0)
    counts = [sum(weight.numel() for weight in each.weights) for each in (left, whole)]
    assert counts[0] < counts[1]
