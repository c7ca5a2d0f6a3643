"""Sampled paths: what runs, its weight's gradient, the temperature, resuming, what is refused."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.bilevel.build import build_supernet
from nas.bilevel.relaxation import Path as Paths
from nas.cells.genotype import KINDS
from nas.cells.sampled import SampledFanOut
from nas.cells.supernet import MixedFanOut, Supernet
from nas.errors import UsageError
from nas.moment import Moment
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings, make
from nas.space import CellSpace, load
from nas.train import session
from tests.engine.test_merged import batch, loss

THREE = CellSpace("three", "", 2, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def sampled(space: CellSpace = THREE, tau: float = 1.0) -> Supernet:
    settings = SearchSettings(relaxation="path", channels=4, cells=3, tau=tau, tau_min=tau, epochs=1)
    supernet = build_supernet(settings, space, 10)
    torch.manual_seed(0)
    for alpha in supernet.alphas.values():
        nn.init.normal_(alpha)
    return supernet


def paths(supernet: Supernet) -> Paths:
    assert isinstance(supernet.relax, Paths)
    return supernet.relax


def test_the_parameters_are_those_of_every_engine() -> None:
    Supernet(THREE, channels=4, cells=3).load_state_dict(sampled().state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_one_operation_of_each_edge_runs(training: bool) -> None:
    supernet = sampled(load("darts")).train(training)
    if training:
        paths(supernet).draw(Moment(0))
    ran: Counter[int] = Counter()
    fan_outs = [module for module in supernet.modules() if isinstance(module, MixedFanOut)]
    edges = [fan_out.operations(node) for fan_out in fan_outs for node in fan_out.rows]
    for number, operations in enumerate(edges):
        for operation in operations.values():
            operation.register_forward_hook(lambda *_, number=number: ran.update([number]))
    supernet(torch.randn(2, 3, 16, 16))
    assert len(edges) == 3 * 14 and list(ran.values()) == [1] * len(edges)


def test_evaluation_runs_the_best_operation() -> None:
    """As it does wherever nothing is drawn."""
    supernet = sampled()
    paths(supernet).draw(Moment(0))
    paths(supernet).clear()
    for kind in KINDS:
        assert [chosen for chosen, _ in supernet.mixing()[kind]] == supernet.alphas[kind].argmax(-1).tolist()
        assert all(weight == 1 for _, weight in supernet.mixing()[kind])


def test_only_operations_that_an_edge_has_are_drawn() -> None:
    space = replace(THREE, choices={"normal": (("skip_connect", "sep_conv_3x3"),) * 4 + (("sep_conv_3x3",),)})
    supernet = sampled(space)
    with torch.no_grad():
        supernet.alphas["normal"][:, 0] = 100.0
    for step in range(8):
        paths(supernet).draw(Moment(0, step=step))
        chosen = [operation for operation, _ in supernet.mixing()["normal"]]
        assert 0 not in chosen and chosen[4] == 2
    loss(supernet, batch(8, dtype=torch.float32)).backward()
    grad = supernet.alphas["normal"].grad
    assert grad is not None and bool(grad.isfinite().all()) and not grad[:, 0].any()


def test_gradient_of_the_alphas_by_hand() -> None:
    """dw/dα_j = p_c · (δ_cj − p_j) / τ, with p the relaxed probabilities and c the operation that ran."""
    supernet = sampled(tau=0.7).double()
    paths(supernet).draw(Moment(0))
    fan_out = SampledFanOut(THREE, "normal", 0, 4).double()
    state, factor = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 4, 8, 8).double()
    noises = paths(supernet).noise
    assert noises is not None
    alpha, noise = supernet.alphas["normal"], noises["normal"].double()
    relaxed = ((alpha.log_softmax(-1) + noise) / 0.7).softmax(-1).detach()
    expected = torch.zeros_like(relaxed)
    total = torch.zeros((), dtype=torch.float64)
    for (node, part), row in zip(fan_out(state, supernet.mixing()["normal"]), (0, 2), strict=True):
        chosen = int(relaxed[row].argmax())
        output = fan_out.operations(node)[chosen](state)
        torch.testing.assert_close(part, output)
        slope = float((factor * output).sum().detach()) * relaxed[row, chosen] / 0.7
        expected[row] = -slope * relaxed[row]
        expected[row, chosen] += slope
        total = total + (factor * part).sum()
    total.backward()
    assert alpha.grad is not None and bool(expected.any())
    torch.testing.assert_close(alpha.grad, expected, rtol=1e-9, atol=1e-9)


def test_draws_follow_the_probabilities() -> None:
    supernet = sampled(tau=5.0)
    wanted = supernet.alphas["normal"][0].softmax(-1).detach()
    counts = torch.zeros(3)
    for step in range(2000):
        paths(supernet).draw(Moment(0, step=step))
        counts[supernet.mixing()["normal"][0][0]] += 1
    torch.testing.assert_close(counts / 2000, wanted, rtol=0, atol=0.04)


def test_a_draw_is_a_function_of_seed_step_and_half() -> None:
    noises: list[Tensor] = []
    for step, half in ((7, 0), (7, 1), (8, 0), (7, 0)):
        relaxation = paths(sampled())
        relaxation.draw(Moment(3, step=step, half=half))
        assert relaxation.noise is not None
        noises.append(relaxation.noise["normal"])
        assert not torch.equal(relaxation.noise["normal"], relaxation.noise["reduce"])
    assert torch.equal(noises[0], noises[3])
    assert not torch.equal(noises[0], noises[1]) and not torch.equal(noises[0], noises[2])


@pytest.mark.parametrize(("epoch", "tau"), [(0, 10.0), (2, 5.05), (4, 0.1)])
def test_temperature_falls_linearly(epoch: int, tau: float) -> None:
    relaxation = Paths(SearchSettings(), {})
    relaxation.draw(Moment(0, epoch, epochs=5))
    assert relaxation.tau == pytest.approx(tau)


def test_a_path_of_nothing() -> None:
    """Every edge draws ``none``: there is still a loss to learn from."""
    supernet = sampled()
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha[:, 0] = 1000.0
    paths(supernet).draw(Moment(0))
    loss(supernet, batch(8, dtype=torch.float32)).backward()
    grad = supernet.alphas["reduce"].grad  # the normal cell is cut off
    assert grad is not None and not grad.any()


@pytest.mark.parametrize("other", [{"order": 2}, {"partial": 4}])
def test_refused(other: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"path and --(order|partial) . do not go together"):
        make(SearchSettings, {"relaxation": "path", **other})


SMALL = ("--data", "digits", "--preset", "quick", "--limit", "64", "--epochs", "2", "--batch", "8", "--channels", "4")


@pytest.mark.parametrize("what", [("--relaxation", "path"), ("--space", "s4"), ("--space", "nasbench201")])
def test_stopped_and_resumed_bit_for_bit(
    what: tuple[str, str], nas: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the network itself draws, noise."""
    words = ("search", *SMALL, "--cells", "3", *what, "--json")
    status, out, err = nas(*words)
    assert status == 0, err
    whole = Run(Path(json.loads(out)["run"]))

    class Stopping(session.Session[SearchEpoch]):
        def _stop_if_asked(self) -> None:
            self._signal.number = 2 if self.step == 6 else 0
            super()._stop_if_asked()

    with monkeypatch.context() as patch:
        patch.setattr("nas.bilevel.loop.Session", Stopping)
        assert nas(*words)[0] == 130
    status, out, err = nas("search", "--resume", "last", "--json")
    assert status == 0, err
    resumed = Run(Path(json.loads(out)["run"]))
    assert resumed.path != whole.path
    logs = [[replace(entry, seconds=0.0) for entry in run.log(SearchEpoch)] for run in (whole, resumed)]
    assert logs[0] == logs[1]
