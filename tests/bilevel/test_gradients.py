"""The second-order term against autograd through the unrolled step.

In float64, with smooth activations and average pooling: with ReLU and max pooling the finite difference itself is off
by multiples and the test would mean nothing.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from nas.bilevel.build import ENGINES
from nas.bilevel.gradients import Learner
from nas.bilevel.relaxation import RELAXATIONS
from nas.bilevel.second_order import Batch, constant, hessian_vector, unrolled_gradient
from nas.blocks.noise import Noise
from nas.cells.recompute import noise_rewinder
from nas.cells.supernet import Supernet
from nas.moment import Moment
from nas.settings import SearchSettings
from nas.space import CellSpace

SPACE = CellSpace("smooth", "", 2, {"none": {}, "avg_pool_3x3": {}, "skip_connect": {}, "sep_conv_3x3": {}})


def smooth(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        smooth(child)


def batch(seed: int) -> Batch:
    stream = torch.Generator().manual_seed(seed)
    images = torch.randn(4, 3, 8, 8, generator=stream, dtype=torch.float64)
    return images, torch.randint(3, (4,), generator=stream)


@pytest.fixture
def supernet() -> Supernet:
    torch.manual_seed(0)
    supernet = Supernet(SPACE, channels=2, cells=3, classes=3).double()
    smooth(supernet)
    with torch.no_grad():
        for alpha in supernet.alphas.values():
            alpha.normal_()
    return supernet


def learner_of(supernet: Supernet) -> Learner:
    learner = Learner(supernet, SearchSettings(order=2, lr=0.1, weight_decay=0.01))
    for seed in (10, 11):  # fills the momentum buffers
        learner.differentiate_weights(batch(seed))
        learner.update_weights()
    return learner


def exact(
    supernet: Supernet, learner: Learner, train: Batch, valid: Batch
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """By autograd: the whole gradient, the product ∇²_{α,w} L_train · v, and v."""
    names = [name for name, _ in supernet.network.named_parameters(prefix="network")]
    settings = learner.settings

    def loss(weights: list[Tensor], part: Batch) -> Tensor:
        logits = functional_call(supernet, dict(zip(names, weights, strict=True)), part[0])
        return F.cross_entropy(logits, part[1])

    gradients = torch.autograd.grad(loss(learner.weights, train), learner.weights, create_graph=True)
    stepped = []
    for weight, gradient in zip(learner.weights, gradients, strict=True):
        buffer = learner.weight_optimizer.state[weight]["momentum_buffer"]
        direction = settings.momentum * buffer + gradient + settings.weight_decay * weight
        stepped.append(weight - settings.lr * direction)
    whole = torch.autograd.grad(loss(stepped, valid), learner.alphas, retain_graph=True)
    vector = torch.autograd.grad(loss(stepped, valid), stepped, retain_graph=True)
    product = torch.autograd.grad(gradients, learner.alphas, grad_outputs=vector)
    return list(whole), list(product), list(vector)


def distance(found: list[Tensor], wanted: list[Tensor]) -> float:
    difference = torch.cat([(f - w).flatten() for f, w in zip(found, wanted, strict=True)])
    return float(difference.norm() / torch.cat([w.flatten() for w in wanted]).norm())


def test_hessian_vector_product(supernet: Supernet) -> None:
    learner = learner_of(supernet)
    _, wanted, vector = exact(supernet, learner, batch(1), batch(2))
    errors = [distance(hessian_vector(learner, batch(1), vector, scale), wanted) for scale in (4e-2, 2e-2, 1e-3)]
    assert errors[2] < 1e-4
    assert 3 < errors[0] / errors[1] < 5, "a central difference's error falls fourfold as ε halves"


def test_the_careless_form_fails(supernet: Supernet) -> None:
    """(p − n) / 2 · ε instead of (p − n) / (2 · ε): off by ε², so that nothing of the second order is left."""
    learner = learner_of(supernet)
    _, wanted, vector = exact(supernet, learner, batch(1), batch(2))
    epsilon = 1e-3 / float(torch.cat([part.flatten() for part in vector]).norm())
    careless = [part * epsilon**2 for part in hessian_vector(learner, batch(1), vector, 1e-3)]
    assert distance(careless, wanted) > 0.99


@pytest.mark.parametrize("name", sorted(set(RELAXATIONS) - {"path"}))
def test_unrolled_gradient(name: str, supernet: Supernet) -> None:
    shapes = {kind: alphas.shape for kind, alphas in supernet.alphas.items()}
    supernet.relax = RELAXATIONS[name](SearchSettings(tau=1.0), shapes)
    learner = learner_of(supernet)
    learner.begin(Moment(0))  # one draw, which all passes of the half see
    wanted, product, _ = exact(supernet, learner, batch(1), batch(2))
    before = [weight.detach().clone() for weight in learner.weights]
    found = unrolled_gradient(learner, batch(1), batch(2), 1e-3)
    assert distance(found, wanted) < 1e-3
    first_order = [w + learner.settings.lr * p for w, p in zip(wanted, product, strict=True)]
    assert distance(found, wanted) < 0.1 * distance(first_order, wanted)
    assert all(torch.equal(weight, kept) for weight, kept in zip(learner.weights, before, strict=True))


def test_lean_gradients(supernet: Supernet) -> None:
    """The alpha step computes no weight gradient, the weight step no alpha gradient, and both are the full one's."""
    learner = learner_of(supernet)
    supernet.zero_grad()
    learner.loss(batch(3))[0].backward()
    full = {
        name: parameter.grad.clone() for name, parameter in supernet.named_parameters() if parameter.grad is not None
    }
    for learning, fixed, prefix in (
        (learner.alphas, learner.weights, "alphas"),
        (learner.weights, learner.alphas, "network"),
    ):
        for parameter in [*learning, *fixed]:
            parameter.grad = None
        with constant(fixed):
            learner.differentiate(learning, batch(3))
        assert all(parameter.grad is None for parameter in fixed)
        for name, parameter in supernet.named_parameters():
            if name.startswith(prefix):
                assert parameter.grad is not None and torch.allclose(parameter.grad, full[name], rtol=1e-10, atol=1e-14)


def test_second_order_draws_noise_once() -> None:
    """The two sides of a difference see the same noise, else it would be divided by 2ε."""
    space = CellSpace("noisy", "", 2, {"noise": {}, "avg_pool_3x3": {}, "sep_conv_3x3": {}})
    torch.manual_seed(0)
    supernet = Supernet(space, channels=2, cells=3, classes=3).double()
    smooth(supernet)
    learner = learner_of(supernet)
    rewind = noise_rewinder(supernet)
    places = [module.place.clone() for module in supernet.modules() if isinstance(module, Noise)]
    vector = [torch.randn_like(weight) for weight in learner.weights]
    coarse, fine = (hessian_vector(learner, batch(1), vector, scale) for scale in (2e-2, 1e-3) if rewind() is None)
    assert distance(coarse, fine) < 0.01
    after = [module.place for module in supernet.modules() if isinstance(module, Noise)]
    assert all(int(now) == int(before) + 1 for now, before in zip(after, places, strict=True)), "one draw a half"


@pytest.mark.parametrize("engine", ENGINES)
def test_passes_of_the_second_order(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each computes only the gradients that are used, and the held-out batch moves no running statistics."""
    supernet = Supernet(SPACE, channels=4, cells=3, classes=3, fan_out=ENGINES[engine]).double()
    learner, passes, plain = learner_of(supernet), [], Learner.loss
    running = [buffer for buffer in supernet.buffers() if buffer.is_floating_point()]

    def loss(learner: Learner, part: Batch) -> tuple[Tensor, Tensor]:
        before = torch.cat(running)
        result = plain(learner, part)
        needed = [all(each.requires_grad for each in group) for group in (learner.weights, learner.alphas)]
        passes.append((*needed, not torch.equal(torch.cat(running), before)))
        return result

    counts = [norm.num_batches_tracked for norm in supernet.modules() if isinstance(norm, nn.BatchNorm2d)]
    before = sum(counts)
    monkeypatch.setattr(Learner, "loss", loss)
    unrolled_gradient(learner, batch(1), batch(2))
    alphas_alone = (False, True, True)
    assert passes == [(True, False, True), (True, True, False), alphas_alone, alphas_alone]
    assert sum(counts) == before + 3 * len(counts)
    assert all(parameter.requires_grad for parameter in supernet.parameters())
