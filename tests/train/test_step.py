"""A training's step as a GPU records it: on the CPU the same code, not recorded."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from nas import data
from nas.architecture import from_json, of_genotype
from nas.blocks.noise import Noise
from nas.cells.genotype import read
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Split
from nas.execution import mixed
from nas.macro.networks import document
from nas.presets import TRAIN_PRESETS, resolve
from nas.settings import TrainSettings
from nas.train import loop
from nas.train.evaluate import correct
from nas.train.loop import measured
from nas.train.multi_tensor import MultiTensor, cast_by_autocast
from nas.train.preflight import measure
from nas.train.process_group import ProcessGroup
from nas.train.recipe import fit_to_device, make_average, make_optimizer
from nas.train.recorded import restore
from nas.train.schedule import learning_rate, set_rate
from nas.train.start import freeze, train_mode
from nas.train.step import TrainStep, draw_masks, train_step, unrecordable
from tests.replay import ReplayGraph
from tests.train.test_resume import TEXT

BATCH, EPOCHS = 8, 4
CELL = TEXT.replace("max_pool", "avg_pool")
"""On a GPU torch's gradient of max pooling is a sum in any order."""
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in TRAIN_PRESETS},
    "bf16": ("paper", {"precision": "bf16", "ema": 0.9}),
    "parts": ("fast", {"accumulate": 3, "drop_path": 0.3, "cutout": True}),
}
"""Name → preset, changes."""


def settings_of(variant: str, lr: float = 0.01) -> TrainSettings:
    preset, changes = VARIANTS[variant]
    return resolve(TrainSettings, TRAIN_PRESETS, preset, {"batch": BATCH, "epochs": EPOCHS, "lr": lr, **changes})


def network_of(variant: str, device: str = "cpu") -> nn.Module:
    """A small cell network, or, for the recipes of networks with dropout, one of those."""
    torch.manual_seed(0)
    family = variant.removeprefix("imagenet-")
    if family in ("mobilenet_v2", "mobilenext"):
        settings = {"width": 0.1}
        return from_json(document(family, settings, input=(3, 16, 16), classes=10, stem="cifar")).build().to(device)
    auxiliary = settings_of(variant).auxiliary > 0
    network = of_genotype(read(CELL), channels=4, cells=3, auxiliary=auxiliary).build()
    return network.to(device).to(memory_format=torch.channels_last)


def step_on(device: str, variant: str, dtype: torch.dtype = torch.float32, lr: float = 0.01) -> TrainStep:
    settings, network = settings_of(variant, lr), network_of(variant, device).to(dtype).train()
    dataset = data.load("digits")
    split = Split(dataset.train.images.to(device), dataset.train.labels.to(device))
    augmentation = Augmentation.of(
        dataset, cutout=settings.cutout, device=device, resized=settings.crop == "resized", jitter=settings.jitter
    )
    stream = Stream(split, augmentation, BATCH, 0)
    group = ProcessGroup(BATCH, settings.accumulate)
    optimizer, average = make_optimizer(network, settings), make_average(network, settings)
    return TrainStep(network, optimizer, average, stream, settings, device, group, "library")


def as_on_a_gpu(step: TrainStep, *, recorded: bool = True) -> TrainStep:
    """The step with optimiser and average as they are on a GPU; if ``recorded``, recorded as there."""
    for group in step.optimizer.param_groups:
        group["lr"] = torch.tensor(group["lr"])
        kernel = {"capturable": True, "foreach": True} if "capturable" in group else {"fused": True, "foreach": False}
        group.update(kernel)
    step.share = torch.zeros(())
    step.recordable, step.graph = recorded, lambda: ReplayGraph(step.changed)
    step.forward = MultiTensor(step.network, step.settings.precision)
    return step


@pytest.fixture
def capturable_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """RMSProp's form for graphs, which torch allows on GPUs only."""
    module = importlib.import_module("torch.optim.rmsprop")
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])


def state_of(step: TrainStep) -> dict[str, Tensor]:
    """All that a step changes."""
    return {name: value.detach().clone() for name, value in step.changed().items()}


def plain(step: TrainStep, epoch: int, number: int) -> tuple[Tensor, Tensor]:
    """A step as papers write it, with torch's own moving average."""
    settings, network = step.settings, step.network
    set_rate(step.optimizer, learning_rate(settings, epoch, number / step.stream.steps))
    masks = draw_masks(network, settings, epoch, number)
    batch = step.stream.at(number)
    loss, logits = train_step(network, step.optimizer, batch, settings, "cpu", masks)
    if step.average:
        move = get_ema_multi_avg_fn(min(settings.ema, (1 + number) / (10 + number)))
        step.average.multi_avg_fn = lambda own, given, count: (
            move(own, given, count) if own[0].is_floating_point() else None
        )
        step.average.update_parameters(network)
    return loss, correct(logits, batch[1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_are_the_plain_ones_to_the_bit(variant: str) -> None:
    mine, theirs = step_on("cpu", variant), step_on("cpu", variant)
    assert not mine.recordable
    for number in range(3):
        found, wanted = mine(1, number), plain(theirs, 1, number)
        assert torch.equal(found[0], wanted[0]) and found[1] == wanted[1]
    before, after = state_of(theirs), state_of(mine)
    assert before.keys() == after.keys()
    for name, value in after.items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("variant", ["bf16", "fast", "parts", "imagenet-mobilenet_v2"])
def test_kernels_for_all_layers_change_no_bit(variant: str) -> None:
    together, apart = step_on("cpu", variant), step_on("cpu", variant)
    together.forward = MultiTensor(together.network, together.settings.precision)
    for number in range(2):
        assert torch.equal(together(1, number)[0], apart(1, number)[0])
    wanted = state_of(apart)
    assert any("num_batches_tracked" in name and value == 2 for name, value in wanted.items()) or variant == "parts"
    for name, value in state_of(together).items():
        assert torch.equal(value, wanted[name]), name


def test_what_is_frozen_stays_and_is_not_counted() -> None:
    network = network_of("paper")
    train_mode(network, freeze(network, 1))
    assert not any(name.startswith("cells.0.") for name in cast_by_autocast(network))
    before = copy.deepcopy(network.cells[0].state_dict())
    with mixed("bf16", "cpu"):
        MultiTensor(network, "bf16")(torch.zeros(2, 3, 16, 16))
    assert all(torch.equal(value, before[name]) for name, value in network.cells[0].state_dict().items())


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_recorded_course_is_the_eager_one(variant: str, capturable_cpu: None) -> None:
    """Rates, dropped paths, dropout, the average's pace of each step; nothing waits or changes unannounced."""
    recorded, eager = (as_on_a_gpu(step_on("cpu", variant), recorded=each) for each in (True, False))
    for epoch, number in ((0, 0), (1, 1), (1, 2), (3, 3)):
        found, wanted = recorded(epoch, number), eager(epoch, number)
        assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
    assert recorded.recorded is not None and eager.recorded is None
    after = state_of(recorded)
    assert after.keys() == eager.changed().keys()
    for name, value in eager.changed().items():
        assert torch.equal(after[name], value), name


def test_measuring_a_recorded_step_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    step = as_on_a_gpu(step_on("cpu", "fast"))
    before = state_of(step)
    monkeypatch.setattr(
        loop, "measure", lambda trial, images, device, whole, workers: (whole(), measure(trial, images, device))
    )
    measured(step, data.load("digits"))
    assert step.recorded is not None
    for name, value in step.changed().items():
        assert torch.equal(value, before[name]) if name in before else not value.any(), name


def test_what_a_step_changes_can_be_put_back() -> None:
    step = step_on("cpu", "fast")
    before = state_of(step)
    step(1, 1)
    assert set(step.changed()) > set(before), "the momentum came to be"
    assert any(not torch.equal(value, before[name]) for name, value in step.changed().items() if name in before)
    restore(step.changed(), before)
    for name, value in step.changed().items():
        assert torch.equal(value, before[name]) if name in before else not value.any(), name


def test_the_recorded_average_is_the_same() -> None:
    mine, theirs = step_on("cpu", "fast"), step_on("cpu", "fast")
    as_on_a_gpu(mine, recorded=False)
    for number in range(4):
        mine(1, number), theirs(1, number)
        assert mine.average is not None and theirs.average is not None
        pairs = zip(mine.average.state_dict().items(), theirs.average.state_dict().values(), strict=True)
        for (name, found), wanted in pairs:
            assert torch.allclose(found, wanted, rtol=1e-5, atol=1e-7), name


@pytest.mark.parametrize("variant", ["paper", "imagenet-mobilenet_v2"])
def test_an_optimiser_comes_back_from_a_gpu(variant: str) -> None:
    step, fresh = step_on("cpu", variant), step_on("cpu", variant)
    step(0, 0)
    saved = copy.deepcopy(step.optimizer.state_dict())
    for group in saved["param_groups"]:
        group.update({"lr": torch.tensor(group["lr"]), "capturable" if "capturable" in group else "fused": True})
    fresh.optimizer.load_state_dict(saved)
    assert not fit_to_device(fresh.optimizer)
    for group in fresh.optimizer.param_groups:
        assert isinstance(group["lr"], float) and not group.get("capturable") and not group.get("fused")
    fresh.network.load_state_dict(step.network.state_dict())
    fresh(0, 1), step(0, 1)
    for found, wanted in zip(fresh.network.parameters(), step.network.parameters(), strict=True):
        assert torch.equal(found, wanted)


def test_what_cannot_be_recorded_is_named() -> None:
    alone = ProcessGroup(BATCH)
    assert not unrecordable(network_of("paper"), alone)
    assert "workers" in unrecordable(network_of("paper"), ProcessGroup(BATCH, world_size=2))
    assert "Noise" in unrecordable(nn.Sequential(Noise(1)), alone)


# ---- on a GPU


@pytest.fixture
def precise_step(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], TrainStep]:
    """``precise_step(device, variant)``: a step in float64, of small rate.

    In single precision one last bit that differs, as by another order of a sum or another kernel, is a hundredth of the
    loss twenty steps later, and all of it with RMSProp; so it stays below 10⁻⁷ for some steps, and a stale input or a
    wrong rate does not. The augmentation is computed as ever.
    """
    apply = Augmentation.apply
    monkeypatch.setattr(Augmentation, "apply", lambda own, *drawn: apply(own, *drawn).double())
    return lambda device, variant: step_on(device, variant, torch.float64, 1e-3)


PreciseStep = Callable[[str, str], TrainStep]
PRECISE = [variant for variant in VARIANTS if variant != "bf16"]


def assert_close(found: TrainStep, wanted: TrainStep) -> None:
    """In all that steps change."""
    values, expected = state_of(found), state_of(wanted)
    assert values.keys() == expected.keys()
    for name, value in values.items():
        torch.testing.assert_close(value, expected[name], rtol=1e-7, atol=1e-7, msg=lambda text, n=name: f"{n}: {text}")


def hand_over(old: TrainStep, new: TrainStep) -> None:
    """Restores the new step from the old one's state, as a checkpoint does."""
    new.network.load_state_dict(old.network.state_dict())
    new.optimizer.load_state_dict(copy.deepcopy(old.optimizer.state_dict()))
    if new.average and old.average:
        new.average.load_state_dict(old.average.state_dict())
    fit_to_device(new.optimizer)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", PRECISE)
def test_recorded_steps_are_the_eager_ones(variant: str, precise_step: PreciseStep) -> None:
    recorded, eager = precise_step("cuda", variant), precise_step("cuda", variant)
    assert recorded.recordable
    eager.recordable = False
    for number in range(3):
        found, wanted = recorded(1, number), eager(1, number)
        torch.testing.assert_close(found[0], wanted[0], rtol=1e-7, atol=0.0)
    assert recorded.recorded is not None and eager.recorded is None
    assert_close(recorded, eager)


@pytest.mark.gpu
def test_a_recorded_step_in_half_precision_is_nearly_the_eager_one() -> None:
    """The weights' casts are others; where sums round apart, a map's last of 8 bits does."""
    recorded, eager = step_on("cuda", "bf16"), step_on("cuda", "bf16")
    eager.recordable = False
    for number in range(2):
        found, wanted = recorded(1, number), eager(1, number)
        torch.testing.assert_close(found[0], wanted[0], rtol=5e-2, atol=0.0)
    assert recorded.recorded is not None


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["paper", "fast", "imagenet-mobilenet_v2"])
def test_a_recorded_training_goes_on_as_it_was(variant: str, precise_step: PreciseStep) -> None:
    whole, resumed = precise_step("cuda", variant), precise_step("cuda", variant)
    whole(1, 0)
    hand_over(whole, resumed)
    for number in (1, 2):
        torch.testing.assert_close(resumed(1, number)[0], whole(1, number)[0], rtol=1e-7, atol=0.0)
    assert_close(resumed, whole)


@pytest.mark.gpu
@pytest.mark.parametrize("variant", ["fast", "imagenet-mobilenet_v2"])
def test_a_training_moves_between_devices(
    variant: str, precise_step: PreciseStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of images as they are: devices round their augmentation apart, and dropout layers' draws are each one's own."""
    here, there, back = (precise_step(device, variant) for device in ("cpu", "cuda", "cpu"))
    monkeypatch.setattr(Augmentation, "apply", lambda own, images, drawn: images.double() / 255)
    for module in (*here.network.modules(), *there.network.modules()):
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    here(1, 0)
    hand_over(here, there)
    there(1, 1), here(1, 1)
    hand_over(there, back)
    for name, value in here.network.state_dict().items():
        torch.testing.assert_close(back.network.state_dict()[name], value, rtol=1e-6, atol=1e-6, msg=name)
    assert back(1, 2)[0].isfinite()
