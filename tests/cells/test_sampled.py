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
from nas.bilevel.relaxation import draw_paths
from nas.cells.genotype import KINDS
from nas.cells.sampled import SampledFanOut, SampledSupernet
from nas.cells.supernet import MixedFanOut, Supernet
from nas.errors import UsageError
from nas.rng import generator
from nas.run.folder import Run
from nas.run.log import SearchEpoch
from nas.settings import SearchSettings, make
from nas.space import CellSpace, load
from nas.train import session
from tests.engine.test_merged import batch, loss

THREE = CellSpace("three", "", 2, {"none": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def sampled(space: CellSpace = THREE) -> SampledSupernet:
    torch.manual_seed(0)
    supernet = SampledSupernet(space, channels=4, cells=3)
    for alpha in supernet.alphas.values():
        nn.init.normal_(alpha)
    return supernet


def test_the_parameters_are_those_of_every_engine() -> None:
    Supernet(THREE, channels=4, cells=3).load_state_dict(sampled().state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_one_operation_of_each_edge_runs(training: bool) -> None:
    supernet = sampled(load("darts")).train(training)
    supernet.draw(generator(0, "gumbel", 0, 0), tau=1.0)
    ran: Counter[int] = Counter()
    fan_outs = [module for module in supernet.modules() if isinstance(module, MixedFanOut)]
    edges = [fan_out.operations(node) for fan_out in fan_outs for node in fan_out.rows]
    for number, operations in enumerate(edges):
        for operation in operations.values():
            operation.register_forward_hook(lambda *_, number=number: ran.update([number]))
    supernet(torch.randn(2, 3, 16, 16))
    assert len(edges) == 3 * 14 and list(ran.values()) == [1] * len(edges)


def test_evaluation_runs_the_best_operation() -> None:
    supernet = sampled().eval()
    supernet.draw(generator(0, "gumbel", 0, 0), tau=10.0)
    for kind in KINDS:
        assert [chosen for chosen, _ in supernet.paths(kind)] == supernet.alphas[kind].argmax(-1).tolist()
        assert all(weight == 1 for _, weight in supernet.paths(kind))


def test_only_operations_that_an_edge_has_are_drawn() -> None:
    space = replace(THREE, choices={"normal": (("skip_connect", "sep_conv_3x3"),) * 4 + (("sep_conv_3x3",),)})
    supernet = sampled(space)
    with torch.no_grad():
        supernet.alphas["normal"][:, 0] = 100.0
    for step in range(8):
        supernet.draw(generator(0, "gumbel", step, 0), tau=5.0)
        paths = [chosen for chosen, _ in supernet.paths("normal")]
        assert 0 not in paths and paths[4] == 2
    loss(supernet, batch(8, dtype=torch.float32)).backward()
    grad = supernet.alphas["normal"].grad
    assert grad is not None and bool(grad.isfinite().all()) and not grad[:, 0].any()


def test_gradient_of_the_alphas_by_hand() -> None:
    """dw/dα_j = p_c · (δ_cj − p_j) / τ, with p the relaxed probabilities and c the operation that ran."""
    supernet = sampled().double()
    supernet.draw(generator(0, "gumbel", 0, 0), tau=0.7)
    fan_out = SampledFanOut(THREE, "normal", 0, 4).double()
    state, factor = torch.randn(2, 4, 8, 8).double(), torch.randn(2, 4, 8, 8).double()
    alpha, noise = supernet.alphas["normal"], supernet.noise["normal"].double()
    relaxed = ((alpha.log_softmax(-1) + noise) / 0.7).softmax(-1).detach()
    expected = torch.zeros_like(relaxed)
    total = torch.zeros((), dtype=torch.float64)
    for (node, part), row in zip(fan_out(state, supernet.paths("normal")), (0, 2), strict=True):
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
    supernet = sampled()
    wanted = supernet.alphas["normal"][0].softmax(-1).detach()
    counts = torch.zeros(3)
    for step in range(2000):
        supernet.draw(generator(0, "gumbel", step, 0), tau=5.0)
        counts[supernet.paths("normal")[0][0]] += 1
    torch.testing.assert_close(counts / 2000, wanted, rtol=0, atol=0.04)


def test_a_draw_is_a_function_of_seed_step_and_half() -> None:
    settings = SearchSettings(seed=3, epochs=5)
    noises: list[Tensor] = []
    for epoch, step, turn in ((0, 7, 0), (0, 7, 1), (0, 8, 0), (0, 7, 0)):
        supernet = sampled()
        draw_paths(supernet, settings, epoch, step, turn)
        noises.append(supernet.noise["normal"])
    assert torch.equal(noises[0], noises[3])
    assert not torch.equal(noises[0], noises[1]) and not torch.equal(noises[0], noises[2])
    assert not torch.equal(supernet.noise["normal"], supernet.noise["reduce"])


@pytest.mark.parametrize(("epoch", "tau"), [(0, 10.0), (2, 5.05), (4, 0.1)])
def test_temperature_falls_linearly(epoch: int, tau: float) -> None:
    supernet = sampled()
    draw_paths(supernet, SearchSettings(epochs=5), epoch, 0, 0)
    assert supernet.tau == pytest.approx(tau)


def test_a_path_of_nothing() -> None:
    """Every edge draws ``none``: there is still a loss to learn from."""
    supernet = sampled()
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha[:, 0] = 1000.0
    loss(supernet, batch(8, dtype=torch.float32)).backward()
    grad = supernet.alphas["reduce"].grad  # the normal cell is cut off
    assert grad is not None and not grad.any()


@pytest.mark.parametrize("other", [{"order": 2}, {"partial": 4}])
def test_refused(other: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"path and --(order|partial) . do not go together"):
        make(SearchSettings, {"relaxation": "path", **other})


def test_the_settings_choose_it() -> None:
    assert isinstance(
        build_supernet(SearchSettings(relaxation="path", channels=4, cells=2), THREE, 10), SampledSupernet
    )


SMALL = ("--data", "digits", "--preset", "quick", "--limit", "64", "--epochs", "2", "--batch", "8", "--channels", "4")


def test_stopped_and_resumed_bit_for_bit(
    nas: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("search", *SMALL, "--cells", "2", "--relaxation", "path", "--json")
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
