"""A search under a limit: its alphas' gradient, its limit case, its prices, exact resuming."""

from pathlib import Path

import pytest
import torch

from nas.amounts import Limits
from nas.bilevel.budget import Budget
from nas.bilevel.derivation import EdgeCosts
from nas.cells.supernet import derive
from nas.errors import Interrupted
from nas.execution import Execution
from nas.run.spec import SearchSpec, Size
from tests.bilevel.random_cells import random_costs
from tests.bilevel.test_methods import SPACE, Stopping, assert_same, batch, learner_of, outcome, settings_of


def costs_of() -> EdgeCosts:
    return random_costs(SPACE, torch.Generator().manual_seed(0))


def gradients(budget: Budget | None) -> list[torch.Tensor]:
    learner = learner_of()
    learner.budget = budget
    learner.step_alphas(batch(0), batch(1))
    return [alpha.grad for alpha in learner.alphas if alpha.grad is not None]


def test_the_penalty_is_added_to_the_alphas_gradient() -> None:
    budget = Budget(costs_of(), Limits(250, 50), steps=1)
    budget.prices += torch.tensor([0.5, 2.0], dtype=torch.float64)
    learner = learner_of()
    budget.penalty(learner.supernet.strengths(), learner.moment.progress).backward()
    pairs = zip(gradients(None), [alpha.grad for alpha in learner.alphas], gradients(budget), strict=True)
    for plain, penalty, both in pairs:
        assert penalty is not None and penalty.abs().max() > 1e-3
        torch.testing.assert_close(plain + penalty, both, rtol=1e-9, atol=1e-12)


def test_a_limit_that_does_not_bind_leaves_all_as_it_was() -> None:
    budget = Budget(costs_of(), Limits(10**9), steps=1)
    for plain, limited in zip(gradients(None), gradients(budget), strict=True):
        torch.testing.assert_close(plain, limited, rtol=1e-9, atol=0)
    assert not budget.prices.any()


def test_stopped_and_resumed_with_its_prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    costs = costs_of()
    small = {"data": "digits", "limit": 40, "batch": 4, "epochs": 2, "cells": 2, "alpha_lr": 0.1}
    settings = settings_of("darts", **small, max_madds="150", max_params="60")
    spec = SearchSpec(settings=settings, execution=Execution().resolved(), final=Size(4, 2))
    whole = outcome(tmp_path / "whole", spec, costs)
    with monkeypatch.context() as patch:
        patch.setattr("nas.bilevel.loop.Session", Stopping)
        with pytest.raises(Interrupted, match="saved"):
            outcome(tmp_path / "part", spec, costs)
    resumed = outcome(tmp_path / "part", spec, costs)
    assert whole["log"] == resumed["log"]
    assert_same(whole["state"], resumed["state"])
    state = whole["state"]
    assert isinstance(state, dict) and state["parts"]["budget"]["prices"].max() > 0


def test_the_price_makes_the_strongest_cell_cheaper() -> None:
    """Of the same alphas and batches, with and without a limit that the cell overruns."""
    costs, found = costs_of(), []
    for limits in (None, Limits(madds=130)):
        learner = learner_of(alpha_lr=0.1)
        learner.budget = Budget(costs, limits, steps=20) if limits else None
        for step in range(20):
            learner.step_alphas(batch(2 * step), batch(2 * step + 1))
        found.append(costs.of(derive(SPACE, learner.supernet.strengths())).madds)
    assert found[1] < found[0]
