"""What recipes are made of: optimisers, decay, average, accumulation, schedules, and the presets."""

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from nas.architecture import Architecture, of_genotype
from nas.cells.genotype import read
from nas.macro.networks import document as macro_document
from nas.presets import SIZES, TRAIN_PRESETS, resolve
from nas.settings import TrainSettings
from nas.train.process_group import ProcessGroup
from nas.train.recipe import decays, follow, make_average, make_optimizer, place_gradients, share
from nas.train.schedule import learning_rate
from nas.train.start import freeze, train_mode
from nas.train.step import draw_masks, train_step
from tests.train.test_resume import TEXT


def small(auxiliary: bool = True) -> nn.Module:
    torch.manual_seed(0)
    return of_genotype(read(TEXT), channels=4, cells=3, auxiliary=auxiliary).build()


def macro(name: str = "mobilenet_v2") -> Architecture:
    from nas.architecture import from_json

    return from_json(macro_document(name, {"width": 0.25}, input=(3, 32, 32), classes=10, stem="cifar"))


def batch(images: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(images, 3, 32, 32, dtype=torch.float64), torch.arange(images) % 10


def gradients(network: nn.Module, settings: TrainSettings) -> tuple[list[torch.Tensor], float]:
    masks = draw_masks(network, settings, epoch=1, step=5)
    optimizer = torch.optim.SGD(network.parameters(), lr=1.0)  # one step moves the weights by the gradient
    before = [parameter.detach().clone() for parameter in network.parameters()]
    loss, logits = train_step(network, optimizer, batch(), settings, "cpu", masks)
    assert logits.shape == (8, 10)
    return [old - new.detach() for old, new in zip(before, network.parameters(), strict=True)], float(loss)


def fixed_statistics(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()


@pytest.mark.parametrize("number", [2, 3])
def test_accumulation_is_the_same_gradient(number: int) -> None:
    common: dict[str, Any] = {"batch": 8, "drop_path": 0.4, "epochs": 2, "label_smoothing": 0.1, "clip": 2.0}
    found = []
    for accumulate in (1, number):
        network = small().double().train()
        fixed_statistics(network)
        found.append(gradients(network, TrainSettings(**common, accumulate=accumulate)))
    assert found[0][1] == pytest.approx(found[1][1], abs=1e-12)
    for whole, summed in zip(found[0][0], found[1][0], strict=True):
        assert torch.allclose(whole, summed, atol=1e-12)


def test_dropped_paths_matter_there() -> None:
    kept, dropped = (TrainSettings(batch=8, drop_path=value, epochs=2) for value in (0.0, 0.4))
    assert gradients(small().double(), kept)[1] != gradients(small().double(), dropped)[1]


def test_parts() -> None:
    assert ProcessGroup(7, 3).microbatches == [range(0, 2), range(2, 4), range(4, 7)]
    assert ProcessGroup(2, 5).microbatches == [range(0, 2)] and len(ProcessGroup(9, 9).microbatches) == 4


@pytest.mark.parametrize(("which", "wanted"), [("all", 4), ("weights", 2), ("dense", 1)])
def test_what_decays(which: str, wanted: int) -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, 8, 1, bias=False))
    assert sum(decays(parameter, which) for parameter in network.parameters()) == wanted
    optimizer = make_optimizer(network, TrainSettings(decayed=which, weight_decay=0.5))
    held = {group["weight_decay"]: len(group["params"]) for group in optimizer.param_groups}
    assert held.get(0.5, 0) == wanted and held.get(0.0, 0) == 4 - wanted


def test_rmsprop_by_hand() -> None:
    weight = nn.Linear(1, 1, bias=False)
    nn.init.ones_(weight.weight)
    settings = TrainSettings(optimizer="rmsprop", lr=0.1, weight_decay=0.0, momentum=0.9, square_decay=0.9)
    optimizer = make_optimizer(weight, settings)
    expected, mean_square, speed = 1.0, 0.0, 0.0
    for gradient in (2.0, -1.0, 3.0):
        weight.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        mean_square = 0.9 * mean_square + 0.1 * gradient**2
        speed = 0.9 * speed + gradient / (math.sqrt(mean_square) + 1e-3)
        expected -= 0.1 * speed
    assert weight.weight.item() == pytest.approx(expected, rel=1e-6)


def test_average_follows_weights_and_statistics() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = make_average(network, TrainSettings(ema=0.5))
    assert average is not None and make_average(network, TrainSettings()) is None
    wanted = {name: value for name, value in copy.deepcopy(network).state_dict().items() if value.is_floating_point()}
    for step in range(4):
        with torch.no_grad():
            for tensor in (*network.parameters(), network[1].running_mean):
                tensor.add_(step + 1.0)
        now = copy.deepcopy(network.state_dict())
        decay = min(0.5, (1 + step) / (10 + step))
        wanted = {name: value.lerp(now[name], 1 - decay) for name, value in wanted.items()}
        follow(average, network, share(0.5, step))
    found = average.module.state_dict()
    assert all(torch.allclose(found[name], value) for name, value in wanted.items())
    assert not torch.allclose(found["0.weight"], network[0].weight)


def test_exponential_and_warmup() -> None:
    settings = TrainSettings(schedule="exponential", lr=0.1, lr_decay=0.5, warmup_epochs=2.0, epochs=9)
    assert learning_rate(settings, 3, 0.5) == pytest.approx(0.1 * 0.5**3)
    assert learning_rate(settings, 0, 0.5) == pytest.approx(0.1 * 0.25)


@pytest.mark.parametrize("name", TRAIN_PRESETS)
def test_every_preset_learns(name: str) -> None:
    assert set(SIZES[name]) == {"channels", "cells"}
    gentle = 0.001 if TRAIN_PRESETS[name].get("optimizer") == "rmsprop" else 0.02
    settings = resolve(TrainSettings, TRAIN_PRESETS, name, {"batch": 8, "lr": gentle, "drop_path": 0.0})
    network = small(settings.auxiliary > 0).double().train()
    optimizer = make_optimizer(network, settings)
    losses = [float(train_step(network, optimizer, batch(), settings, "cpu")[0]) for _ in range(4)]
    assert losses[-1] < losses[0]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image folder: three classes of noise around a colour."""
    root, stream = tmp_path_factory.mktemp("pictures"), np.random.default_rng(0)
    for part, number in (("train", 6), ("test", 2)):
        for index, name in enumerate(("red", "green", "blue")):
            (root / part / name).mkdir(parents=True)
            for each in range(number):
                pixels = stream.integers(0, 128, (80, 72, 3), dtype=np.uint8)
                pixels[..., index] += 100
                Image.fromarray(pixels).save(root / part / name / f"{each}.png")
    return root


@pytest.mark.parametrize("name", [name for name in TRAIN_PRESETS if name.startswith("imagenet")])
def test_recipes_for_image_folders(name: str, pictures: Path, nas: Callable[..., tuple[int, str, str]]) -> None:
    if name == "imagenet-darts":
        Path("network.txt").write_text(TEXT)
        size = ["network.txt", "--channels", "4", "--cells", "3"]
    else:
        size = ["network.json"]
        assert nas("cost", "--space", name.partition("-")[2], "--width", "0.25", "--save", "network.json")[0] == 0
    words = ["--preset", name, "--data", str(pictures), "--image-size", "64", "--epochs", "1", "--batch", "6"]
    status, out, err = nas("retrain", *size, *words, "--json")
    assert status == 0, err
    result = json.loads(out)
    assert 0 <= result["test_accuracy"] <= 1 and result["test_openings"] == 1
    (told,) = Path("runs").glob("*/settings.json")
    assert json.loads(told.read_text())["settings"]["crop"] == "resized"


@pytest.mark.parametrize("build", [small, lambda: macro().build()])
def test_frozen_stages_stay(build: Any) -> None:
    network = build().double()
    settings = TrainSettings(batch=8, lr=0.1, drop_path=0.0)
    frozen = freeze(network, 2)
    held = [copy.deepcopy(stage.state_dict()) for stage in frozen]
    rest = list(network.parameters())[-1]
    before = rest.detach().clone()
    train_mode(network, frozen)
    train_step(network, make_optimizer(network, settings), batch(), settings, "cpu")
    for stage, old in zip(frozen, held, strict=True):
        assert all(torch.equal(value, old[name]) for name, value in stage.state_dict().items())
    assert not torch.equal(rest, before)


def test_gradients_lie_where_they_lay() -> None:
    """Each step's, those of a batch in parts too; a parameter that nothing uses has none."""
    torch.manual_seed(0)
    network, plain = (nn.ModuleList([nn.Linear(3, 2), nn.Linear(1, 1)]) for _ in range(2))
    plain.load_state_dict(network.state_dict())
    place_gradients(network)
    places = set()
    for _ in range(2):
        for each in (network, plain):
            each.zero_grad()
            for part in (torch.ones(1, 3), torch.full((2, 3), -2.0)):
                each[0](part).square().sum().backward()
        ours, theirs = ([parameter.grad for parameter in each.parameters()] for each in (network, plain))
        assert all(torch.equal(one, other) for one, other in zip(ours[:2], theirs[:2], strict=True))
        assert ours[2:] == theirs[2:] == [None, None]
        places.add(tuple(grad.data_ptr() for grad in ours[:2]))
    assert len(places) == 1
