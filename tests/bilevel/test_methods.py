"""What must be true of every search method: what it leaves alone, its limit case, gradient, law, schedule."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import chisquare
from torch import Tensor

from nas.bilevel.alignment import layer_alignment
from nas.bilevel.build import ENGINES, build_supernet
from nas.bilevel.derivation import EdgeCosts
from nas.bilevel.freezing import WINDOW, Freezer
from nas.bilevel.gradients import Batch, Learner
from nas.bilevel.loop import search
from nas.bilevel.perturbation import PERTURBATIONS, clip, epsilon, plain
from nas.bilevel.regularizers import REGULARIZERS, make_penalty
from nas.bilevel.relaxation import RELAXATIONS, Dirichlet, Gumbel, noise_free
from nas.errors import Interrupted, UsageError
from nas.execution import Execution
from nas.methods import METHODS, TERMS
from nas.moment import Moment
from nas.presets import resolve_search
from nas.run.folder import Run, create
from nas.run.log import SearchEpoch
from nas.run.spec import SearchSpec, Size
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train import checkpoint, session

OPERATIONS = {"none": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}}
SPACE = CellSpace("small", "", 2, OPERATIONS)
LAST = Moment(0, epoch=4, epochs=5, half=1)


def settings_of(method: str = "darts", **changes: object) -> SearchSettings:
    size: dict[str, object] = {"channels": 4, "cells": 3, "batch": 4, "epochs": 5}
    size["partial"] = 2 if method == "pc-darts" else None
    size["stage_partials"] = "2,1" if method == "drnas" else None
    return resolve_search("paper", {"method": method, **size, **changes})


def learner_of(method: str = "darts", space: CellSpace = SPACE, **changes: object) -> Learner:
    settings = settings_of(method, **changes)
    supernet = build_supernet(settings, space, 3).double()
    with torch.no_grad():
        for seed, alpha in enumerate(supernet.alphas.values()):
            alpha.copy_(torch.randn(alpha.shape, generator=torch.Generator().manual_seed(seed)))
    return Learner(supernet, settings)


def batch(seed: int) -> Batch:
    stream = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 8, 8, generator=stream, dtype=torch.float64), torch.randint(3, (4,), generator=stream)


def run_steps(learner: Learner, moment: Moment = LAST, steps: int = 3) -> dict[str, Tensor]:
    """The supernet's state after some steps."""
    for step in range(steps):
        learner.step(replace(moment, step=step), batch(2 * step), batch(2 * step + 1))
    return {name: value.detach().clone() for name, value in learner.supernet.state_dict().items()}


def assert_equal(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-9, atol=1e-9, msg=name)


# ---- names


@pytest.mark.parametrize("preset", ["paper", "quick"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_settings(method: str, preset: str) -> None:
    settings = resolve_search(preset, {"method": method})
    assert settings.method == method
    for name, value in METHODS[method].items():
        sized = name in ("batch", "lr", "alpha_lr", "cells", "epochs") and preset != "paper"
        if name != "warmup" and not sized:
            assert getattr(settings, name) == value


def test_options_win_over_the_preset_and_the_preset_over_the_method() -> None:
    assert resolve_search("paper", {"method": "fairdarts"}).batch == 128
    assert resolve_search("quick", {"method": "fairdarts"}).batch == 32
    assert resolve_search("quick", {"method": "fairdarts", "batch": 8}).batch == 8
    assert resolve_search("paper", {"method": "pc-darts", "epochs": 100}).alphas_from == 30
    with pytest.raises(UsageError, match='--method "drns"'):
        resolve_search("paper", {"method": "drns"})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"relaxation": "path", "perturb": "random"}, "a path has no weights to perturb"),
        ({"relaxation": "sigmoid", "perturb": "random"}, "no probabilities"),
        ({"method": "snas", "order": 2}, "no inner step"),
        ({"method": "a2m", "order": 2}, "first order"),
        ({"method": "oles", "order": 2}, "no plain gradient"),
        ({"method": "darts-minus", "partial": 4}, "a skip already"),
        ({"sentinel": "rollback", "eigenvalue": 0}, "that is what it goes by"),
        ({"sentinel": "rollback", "method": "gdas"}, "is not measured there"),
        ({"sentinel": "stop", "eigenvalue": 0, "skip_limit": 0}, "nothing else is measured"),
        ({"regularize": "beta"}, "one of beta-decay, zero-one, entropy"),
        ({"regularize": "entropy:x"}, "a strength is a number"),
        ({"regularize": "entropy:-1"}, "a positive number"),
        ({"regularize": "entropy,entropy:2"}, "each term once"),
    ],
)
def test_combinations_without_sense_say_why(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        resolve_search("paper", changes)


# ---- what a step leaves alone


@pytest.mark.parametrize("method", METHODS)
def test_the_weights_half_leaves_the_alphas_alone(method: str) -> None:
    learner = learner_of(method)
    before = {kind: alpha.detach().clone() for kind, alpha in learner.supernet.alphas.items()}
    learner.begin(LAST)
    learner.differentiate_weights(batch(0))
    learner.update_weights()
    for kind, alpha in learner.supernet.alphas.items():
        assert torch.equal(alpha, before[kind])
        assert alpha.grad is None, "no gradient of the alphas is computed"
    assert learner.supernet.training


@pytest.mark.parametrize("method", sorted(set(METHODS) - {"oles"}))
def test_the_alphas_half_leaves_the_weights_alone(method: str) -> None:
    learner = learner_of(method)
    before = [weight.detach().clone() for weight in learner.weights]
    learner.begin(replace(LAST, half=0))
    learner.step_alphas(batch(0), batch(1))
    for weight, value in zip(learner.weights, before, strict=True):
        assert torch.equal(weight, value)
        assert learner.settings.order == 2 or weight.grad is None


@pytest.mark.parametrize("perturb", sorted(set(PERTURBATIONS) - {"none"}))
def test_perturbed_weights_are_probabilities_of_what_an_edge_has(perturb: str) -> None:
    choices = {"normal": (("skip_connect", "sep_conv_3x3"),) * 5}
    learner = learner_of(space=replace(SPACE, choices=choices), perturb=perturb, mutation=1.0)
    statistics = [buffer.clone() for buffer in learner.supernet.buffers()]
    learner.begin(LAST)
    make = PERTURBATIONS[perturb]
    assert make is not None
    mixing, own = make(learner, batch(0), LAST), plain(learner.supernet)
    for kind, weights in mixing.items():
        assert not torch.equal(weights, own[kind])
        assert bool((weights >= 0).all()) and not weights[own[kind] == 0].any()
        torch.testing.assert_close(weights.sum(-1), torch.ones(5, dtype=torch.float64))
    assert all(torch.equal(buffer, value) for buffer, value in zip(learner.supernet.buffers(), statistics, strict=True))


def test_an_attack_raises_the_training_loss() -> None:
    learner = learner_of("sdarts-adv")
    learner.begin(LAST)
    make = PERTURBATIONS["adversarial"]
    assert make is not None
    worst = make(learner, batch(0), LAST)
    learner.supernet.eval()
    with torch.no_grad():
        losses = [float(learner.loss(batch(0), mixing)[0]) for mixing in (worst, plain(learner.supernet))]
    assert losses[0] > losses[1]


def test_clipping_by_hand() -> None:
    mixing = torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]])
    moved = torch.tensor([[0.6, 0.2, 0.3], [-0.3, -0.1, -0.2]])
    torch.testing.assert_close(clip(moved, mixing), torch.tensor([[0.75, 0.25, 0.0], [0.0, 1.0, 0.0]]))


# ---- limit cases


def silent(gumbel: Gumbel, moment: Moment) -> None:
    gumbel.noise = {kind: torch.zeros(shape) for kind, shape in gumbel.shapes.items()}
    gumbel.tau = 1.0


PLAIN_CASES: dict[str, tuple[dict[str, object], Moment]] = {
    "sdarts-rs": ({"epsilon": 0.0, "epsilon_min": 0.0}, LAST),
    "sdarts-adv": ({"epsilon": 0.0, "epsilon_min": 0.0}, LAST),
    "beta-darts": ({}, replace(LAST, epoch=0)),
    "em-darts": ({}, replace(LAST, epoch=0)),
    "snas": ({"levels": 2}, LAST),
    "a2m": ({"sharpness": 1e-300}, LAST),
    "oles": ({}, LAST),  # with a threshold that no cosine is below
}


@pytest.mark.parametrize("method", PLAIN_CASES)
def test_its_limit_case_is_darts(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, moment = PLAIN_CASES[method]
    monkeypatch.setattr(Gumbel, "draw", silent)
    monkeypatch.setattr("nas.bilevel.freezing.WINDOW", 2)
    learner = learner_of(method, **changes)
    if learner.freezer:
        learner.freezer.threshold = -1.0
    assert_equal(run_steps(learner, moment), run_steps(learner_of(), moment))


@pytest.mark.parametrize("method", ["sdarts-rs", "beta-darts", "snas", "a2m", "fairdarts", "drnas"])
def test_away_from_it_it_is_not(method: str) -> None:
    changes = {name: getattr(SearchSettings(), name) for name in ("lr", "alpha_lr", "alpha_beta1")}
    found = run_steps(learner_of(method, levels=2, **changes))
    assert any(not torch.allclose(found[name], value) for name, value in run_steps(learner_of()).items())


def test_a_skip_of_weight_zero_is_none_at_all() -> None:
    learner, darts = learner_of("darts-minus"), learner_of()
    learner.supernet.load_state_dict(darts.supernet.state_dict(), strict=False)
    learner.supernet.skip = 0.0
    torch.testing.assert_close(learner.loss(batch(0))[1], darts.loss(batch(0))[1], rtol=1e-9, atol=1e-9)
    learner.supernet.skip = 0.5
    assert not torch.allclose(learner.loss(batch(0))[1], darts.loss(batch(0))[1])
    assert learner.supernet.strengths()["normal"].shape == (5, 4)


def test_dirichlet_of_unbounded_concentration_is_its_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    learner = learner_of("drnas")
    relaxation, alphas = learner.supernet.relax, learner.supernet.alphas["normal"]
    assert isinstance(relaxation, Dirichlet)
    concentration = F.elu(alphas) + 1
    monkeypatch.setattr(relaxation, "scale", 1e24)
    relaxation.draw(LAST)
    mean = concentration / concentration.sum(-1, keepdim=True)
    torch.testing.assert_close(relaxation("normal", alphas), mean, rtol=1e-9, atol=1e-9)
    assert torch.equal(relaxation("normal", alphas).argsort(), alphas.softmax(-1).argsort())


# ---- laws


def test_gumbel_chooses_by_the_softmax() -> None:
    learner = learner_of("snas")
    relaxation, alphas = learner.supernet.relax, learner.supernet.alphas["normal"].detach()
    counts = torch.zeros(alphas.shape)
    for step in range(2000):
        relaxation.draw(Moment(1, step=step))  # type: ignore[attr-defined]
        counts += F.one_hot(relaxation("normal", alphas).argmax(-1), alphas.shape[1])
    for row, weights in zip(counts, alphas.softmax(-1), strict=True):
        assert chisquare(row.numpy(), 2000 * weights.numpy(), sum_check=False).pvalue > 1e-3


def test_dirichlet_by_its_means_and_their_slopes() -> None:
    learner = learner_of("drnas")
    relaxation, alphas = learner.supernet.relax, learner.supernet.alphas["reduce"]
    concentration = F.elu(alphas) + 1
    mean = concentration / concentration.sum(-1, keepdim=True)
    factor = torch.randn(alphas.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (wanted,) = torch.autograd.grad((mean * factor).sum(), alphas)
    draws, slopes = torch.zeros_like(alphas), torch.zeros_like(alphas)
    for step in range(4000):
        relaxation.draw(Moment(0, step=step))  # type: ignore[attr-defined]
        weights = relaxation("reduce", alphas)
        draws += weights.detach() / 4000
        slopes += torch.autograd.grad((weights * factor).sum(), alphas)[0] / 4000
    torch.testing.assert_close(draws, mean.detach(), rtol=0, atol=0.02)
    torch.testing.assert_close(slopes, wanted, rtol=0, atol=0.04)


@pytest.mark.parametrize("name", sorted(set(RELAXATIONS) - {"path"}))
def test_a_masked_operation_weighs_nothing_and_has_no_gradient(name: str) -> None:
    choices = {"normal": (("skip_connect", "sep_conv_3x3"),) * 5}
    learner = learner_of(space=replace(SPACE, choices=choices), relaxation=name)
    learner.begin(LAST)
    weights = learner.supernet.mixing()["normal"]
    assert not weights[:, :2].any()
    if name != "sigmoid":
        torch.testing.assert_close(weights.sum(-1), torch.ones(5, dtype=torch.float64))
    learner.step_alphas(batch(0), batch(1))
    grad = learner.supernet.alphas["normal"].grad
    assert grad is not None and bool(grad.isfinite().all()) and not grad[:, :2].any() and bool(grad[:, 2:].any())


def test_concentrations_stay_positive() -> None:
    learner = learner_of("drnas")
    with torch.no_grad():
        learner.supernet.alphas["normal"].fill_(-1000.0)
    learner.begin(replace(LAST, half=0))
    learner.step_alphas(batch(0), batch(1))
    assert all(bool(alpha.isfinite().all()) for alpha in learner.alphas)


def test_mutations_are_as_frequent_as_they_should_be() -> None:
    learner, counts = learner_of("em-darts", mutation=0.4), torch.zeros(())
    make = PERTURBATIONS["mutation"]
    assert make is not None
    for step in range(400):
        for weights in make(learner, batch(0), replace(LAST, step=step)).values():
            counts += (weights > 0.999999).any(-1).sum()
    assert float(counts) / 400 / 10 == pytest.approx(0.4, abs=0.03)


# ---- gradients


@pytest.mark.parametrize("name", ["softmax", "sigmoid", "gumbel"])
def test_mixing_weights_against_finite_differences(name: str) -> None:
    relaxation = RELAXATIONS[name](settings_of(), {"normal": torch.Size((5, 4))})
    relaxation.draw(LAST)
    alphas = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda value: relaxation("normal", value), alphas)


@pytest.mark.parametrize("name", [name for name in RELAXATIONS if name != "path"])
def test_weights_free_of_noise_are_those_that_a_supernet_without_a_draw_mixes_by(name: str) -> None:
    alphas = torch.randn(5, 4, dtype=torch.float64)
    mixing = RELAXATIONS[name](settings_of(), {"normal": alphas.shape})("normal", alphas)
    assert torch.equal(noise_free(name, alphas), mixing)
    assert torch.equal(noise_free("path", alphas), alphas.softmax(-1))


def test_regularizers_by_hand() -> None:
    assert set(REGULARIZERS) == set(TERMS)
    supernet = learner_of().supernet
    alphas = list(supernet.alphas.values())
    for name, wanted in {
        "beta-decay": [alpha.softmax(-1) / 5 for alpha in alphas],
        "zero-one": torch.autograd.grad(-sum(((a.softmax(-1) - 0.5) ** 2).sum() / 40 for a in alphas), alphas),
        "entropy": torch.autograd.grad(sum(-(a.softmax(-1) * a.log_softmax(-1)).sum() / 10 for a in alphas), alphas),
    }.items():
        found = torch.autograd.grad(REGULARIZERS[name].term(supernet), alphas)
        for mine, theirs in zip(found, wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-9, atol=1e-12)


def test_the_mean_of_zero_one_is_over_the_operations_that_there_are() -> None:
    choices = {"normal": (("skip_connect", "sep_conv_3x3"),) * 5}
    supernet = learner_of(space=replace(SPACE, choices=choices)).supernet
    weights = torch.cat([strengths.detach().flatten() for strengths in supernet.strengths().values()])
    own = weights[weights > 0]
    assert len(own) < len(weights)
    assert REGULARIZERS["zero-one"].term(supernet).item() == pytest.approx(-float(((own - 0.5) ** 2).mean()))


@pytest.mark.parametrize("name", TERMS)
def test_regularizers_leave_masked_operations_alone(name: str) -> None:
    choices = {"normal": (("skip_connect", "sep_conv_3x3"),) * 5}
    supernet = learner_of(space=replace(SPACE, choices=choices)).supernet
    REGULARIZERS[name].term(supernet).backward()
    grad = supernet.alphas["normal"].grad
    assert grad is not None and bool(grad.isfinite().all()) and not grad[:, :2].any() and bool(grad[:, 2:].any())


@pytest.mark.parametrize("order", [1, 2])
def test_regularizers_join_the_gradient_of_either_order(order: int) -> None:
    darts, beta = (learner_of(method, order=order) for method in ("darts", "beta-darts"))
    for learner in (darts, beta):
        learner.begin(replace(LAST, half=0))
        learner.differentiate_alphas(batch(0), batch(1))
    for mine, theirs, alpha in zip(beta.alphas, darts.alphas, darts.alphas, strict=True):
        assert mine.grad is not None and theirs.grad is not None
        wanted = theirs.grad + 25 * 0.8 * alpha.softmax(-1) / 5
        torch.testing.assert_close(mine.grad, wanted, rtol=1e-9, atol=1e-9)


def test_a_sharp_gradient_is_taken_uphill() -> None:
    learner, other = learner_of("a2m"), learner_of()
    first = torch.autograd.grad(other.loss(batch(1))[0], other.alphas)
    with torch.no_grad():
        for alpha, slope in zip(other.alphas, first, strict=True):
            alpha.add_(slope, alpha=0.1)
    wanted = torch.autograd.grad(other.loss(batch(1))[0], other.alphas)
    learner.step_alphas(batch(0), batch(1))
    for alpha, slope in zip(learner.alphas, wanted, strict=True):
        assert alpha.grad is not None
        torch.testing.assert_close(alpha.grad, slope, rtol=1e-9, atol=1e-12)


def test_one_level_is_the_whole_gradient_of_one_batch() -> None:
    learner, other = learner_of("single-level"), learner_of()
    parameters = [*other.weights, *other.alphas]
    wanted = torch.autograd.grad(other.loss(batch(0))[0], parameters, allow_unused=True, materialize_grads=True)
    own = [*learner.weights, *learner.alphas]
    learner.step_both(batch(0))
    for parameter, slope in zip(own, wanted, strict=True):
        found = torch.zeros_like(slope) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found, slope, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("method", ["darts-minus", "drnas", "fairdarts", "sdarts-adv", "oles"])
def test_engines_agree(method: str) -> None:
    states = [run_steps(learner_of(method, engine=each), steps=2) for each in ENGINES]
    for name, value in states[0].items():
        torch.testing.assert_close(states[1][name], value, rtol=1e-6, atol=1e-8, msg=name)


# ---- schedules


def test_schedules_at_their_ends() -> None:
    first, last = Moment(0, 0, 50), Moment(0, 49, 50)
    assert (epsilon(settings_of(), first), epsilon(settings_of(), last)) == (0.03, pytest.approx(0.03 + 0.27 * 0.98))
    learner = learner_of("darts-minus")
    for moment, wanted in ((first, 1.0), (last, 0.02)):
        learner.begin(moment)
        assert learner.supernet.skip == pytest.approx(wanted)
    snas = Gumbel(settings_of("snas"), {})
    for moment, tau in ((first, 1.0), (last, 0.03)):
        snas.draw(moment)
        assert snas.tau == pytest.approx(tau)
    supernet, term = learner.supernet.requires_grad_(False), REGULARIZERS["beta-decay"].term
    penalty, constant = make_penalty("beta-decay:25"), make_penalty("zero-one:10")
    assert penalty and constant and make_penalty("") is None
    assert float(penalty(supernet, first)) == 0
    assert float(penalty(supernet, last)) == pytest.approx(25 * 0.98 * float(term(supernet)))
    assert float(constant(supernet, first)) == float(constant(supernet, last)) != 0


# ---- operations that stop learning, layers that agree


def test_operations_freeze_where_gradients_disagree() -> None:
    supernet = learner_of().supernet
    freezer = Freezer(supernet, 0.4)
    assert len(freezer.operations) == 3 * 5 + 2 * 4, "a separable convolution an edge, a reduction's four strided skips"
    for _ in range(WINDOW):
        for number, parameters in enumerate(freezer.operations):
            for parameter in parameters:
                parameter.grad = torch.ones_like(parameter)
            freezer.hold() if number == len(freezer.operations) - 1 else None
        for parameters in freezer.operations[::2]:
            for parameter in parameters:
                parameter.grad = -torch.ones_like(parameter)
        freezer.freeze()
    assert freezer.frozen.tolist() == [index % 2 == 0 for index in range(len(freezer.operations))]
    assert all(parameter.grad is None for parameters in freezer.operations[::2] for parameter in parameters)
    assert all(parameter.grad is not None for parameters in freezer.operations[1::2] for parameter in parameters)


def test_a_frozen_operation_does_not_move() -> None:
    """Neither by momentum nor by weight decay."""
    learner = learner_of("oles")
    run_steps(learner)
    assert learner.freezer is not None
    learner.freezer.frozen[0] = True
    before = [weight.detach().clone() for weight in learner.freezer.operations[0]]
    run_steps(learner)
    assert all(torch.equal(*pair) for pair in zip(learner.freezer.operations[0], before, strict=True))


def test_layer_alignment_by_hand_and_without_a_trace() -> None:
    learner = learner_of(cells=5)
    supernet = learner.supernet
    assert supernet.network.kinds.count("normal") == 3
    state = {name: value.clone() for name, value in supernet.state_dict().items()}
    found = layer_alignment(supernet, batch(0))
    assert all(torch.equal(value, state[name]) for name, value in supernet.state_dict().items())
    rows = [row.detach().clone().requires_grad_() for row in supernet.cell_weights(supernet.strengths())]
    loss = F.cross_entropy(supernet.network(batch(0)[0], rows), batch(0)[1])
    every = zip(torch.autograd.grad(loss, rows), supernet.network.kinds, strict=True)
    slopes = [slope.flatten() for slope, kind in every if kind == "normal"]
    cosines = [float(F.cosine_similarity(slopes[i], slopes[j], dim=0)) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found == pytest.approx(math.fsum(cosines) / 3, rel=1e-9)
    assert layer_alignment(learner_of().supernet, batch(0)) is None, "a network of one normal cell"


# ---- resuming


STAGED = {"drnas", "p-darts"}


class Stopping(session.Session[SearchEpoch]):
    def _stop_if_asked(self) -> None:
        stops = {6, 10, 12} if self.total > 2 else {6, 10}  # 10: an epoch's last step, and once more its end
        self._signal.number = 2 if self.step in stops else 0
        super()._stop_if_asked()


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_bit_for_bit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staged = {"epochs": 4, "keep": "3,2" if method == "p-darts" else "2", "deepen": int(method == "p-darts")}
    small = {"data": "digits", "limit": 40, "batch": 4, "epochs": 2, "cells": 2}
    settings = settings_of(method, **{**small, **(staged if method in STAGED else {})})
    spec = SearchSpec(settings=settings, execution=Execution().resolved(), final=Size(4, 2))
    whole = outcome(tmp_path / "whole", spec)
    with monkeypatch.context() as patch:
        patch.setattr("nas.bilevel.loop.Session", Stopping)
        for _ in range(4 if method in STAGED else 3):  # also at the last step of a stage, and in the stage after
            with pytest.raises(Interrupted, match="saved"):
                outcome(tmp_path / "part", spec)
    resumed = outcome(tmp_path / "part", spec)
    assert whole["log"] == resumed["log"]
    assert_same(whole["state"], resumed["state"])


def outcome(path: Path, spec: SearchSpec, costs: EdgeCosts | None = None) -> dict[str, object]:
    """The log without times and the checkpoint of a search, begun or gone on with."""
    folder = next((Run(run) for run in path.glob("*")), None) or create(path, "search", spec)
    search(folder, spec.settings, SPACE, Execution(threads=1), costs=costs)
    log = [replace(entry, seconds=0.0, eigenvalue_seconds=None) for entry in folder.log(SearchEpoch)]
    state = checkpoint.load(folder.path / "checkpoint")
    return {"log": log, "state": {**vars(state), "log": None}}  # whose lines have times


def assert_same(found: object, wanted: object) -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict) and set(found) == set(wanted)
        for key in set(wanted) - {"seconds"}:
            assert_same(found[key], wanted[key])
    elif isinstance(wanted, Tensor):
        assert isinstance(found, Tensor) and torch.equal(found, wanted)
    elif isinstance(wanted, list | tuple):
        for pair in zip(found, wanted, strict=True):  # type: ignore[call-overload]
            assert_same(*pair)
    else:
        assert found == wanted
