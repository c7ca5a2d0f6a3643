"""The cost of any module, and the command that prints it."""

import json
import time

import pytest
import torch
from torch import nn

from nas.cli import run
from nas.costs.count import count
from nas.costs.latency import measure
from nas.macro.networks import build
from nas.macro.space import load


def meta(network, settings=None):
    with torch.device("meta"):
        return build(network, settings)


class Toy(nn.Module):
    """Two convolutions, an addition, a linear layer; in training an auxiliary output."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.classifier = nn.Linear(8, 10)

    def forward(self, x):
        x = self.dense(x)
        x = x + self.depthwise(x)
        logits = self.classifier(x.mean((2, 3)))
        return (logits, logits) if self.training else logits


def test_counts_by_hand():
    toy = Toy()
    cost = count(toy, (3, 4, 6))
    pixels = 24
    assert cost.params == 8 * 27 + 8 + 8 * 9 + 8 + 8 * 10 + 10
    assert cost.madds == pixels * 8 * 27 + pixels * 8 * 9 + 80
    assert (cost.flops, cost.depthwise, cost.pointwise) == (2 * cost.madds, pixels * 72, 0)
    assert (cost.activations, cost.adds) == (2 * 8 * pixels, 8 * pixels)
    assert cost.peak_memory_bytes == 2 * 3 * 8 * pixels
    assert cost.materialised == {"4x6": 2 * 8 * pixels}
    assert [(stage.name, stage.madds, stage.output) for stage in cost.stages] == [
        ("dense", pixels * 216, (8, 4, 6)),
        ("depthwise", pixels * 72, (8, 4, 6)),
        ("classifier", 80, (10,)),
    ]
    assert toy.training and next(toy.parameters()).device.type == "cpu"


def test_stages_sum_to_the_total():
    cost = count(meta("asymmnet"), (3, 224, 224))
    for name in ("params", "madds", "activations", "adds", "bytes_moved"):
        assert sum(getattr(stage, name) for stage in cost.stages) == getattr(cost, name)
    assert sum(cost.share.values()) == pytest.approx(1)


def test_a_smaller_identity_multiplier_moves_fewer_bytes():
    costs = [count(meta("mobilenext", {"identity": share}), (3, 224, 224)) for share in ("1", "1/2", "1/6", "0")]
    assert len({(cost.params, cost.madds) for cost in costs}) == 1
    assert [cost.adds for cost in costs][-1] == 0
    moved = [cost.bytes_moved for cost in costs]
    assert moved == sorted(moved, reverse=True) and len(set(moved)) == 4
    assert moved[0] - moved[-1] == 2 * 3 * costs[0].adds


def test_splitting_saves_memory_in_inverted_residuals_alone():
    for network, saves in (("mobilenet_v3", True), ("mobilenext", False)):
        cost = count(meta(network), (3, 224, 224))
        assert (cost.peak_memory_split_bytes < cost.peak_memory_bytes) == saves


def test_counting_is_quick():
    network = meta("hbonet", {"contraction": 8})
    count(network, (3, 32, 32))
    times = []
    for _ in range(5):
        start = time.process_time()
        count(network, (3, 224, 224))
        times.append(time.process_time() - start)
    assert min(times) < 0.3


def test_an_image_that_does_not_fit():
    with pytest.raises(ValueError, match="an image of 3×16×16 does not fit"):
        count(meta("mobilenext", {"size": "b0"}), (3, 16, 16))


def test_an_exported_network_keeps_its_partial_shortcuts():
    network = build("mobilenext", {"width": 0.1, "identity": "1/3"}, stem="cifar").eval()
    images = torch.randn(1, 3, 32, 32)
    exported = torch.export.export(network, (images,)).module()
    assert torch.allclose(exported(images), network(images), atol=1e-6)


def test_latency_of_two_networks():
    networks = {name: build("mobilenet_v2", {"width": 0.1}, stem="cifar").eval() for name in ("one", "two")}
    timed = measure(networks, (3, 32, 32), warmup=1, repeats=3)
    for ways in timed.values():
        assert set(ways) == {"eager", "exported"}
        assert all(0 < taken.low_ms <= taken.median_ms <= taken.high_ms for taken in ways.values())


@pytest.mark.parametrize(
    "name",
    ["mobilenet_v1", "mobilenet_v2", "mobilenet_v3", "mobilenext", "hbonet", "asymmnet", "asymmnet_pruned"],
)
def test_shipped_spaces(name):
    assert next(knob for knob in load(name).knobs if knob.name == "width").values[0] == 0.1


def test_command_prints_json(capsys):
    words = "cost --space mobilenext --width 0.5 --resolution 192 --identity 0.5 --json"
    assert run(words.split()) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["params"], printed["madds"], printed["flops"]) == (2_152_304, 76_201_472, 152_402_944)
    assert set(printed["share"]) == {"depthwise", "pointwise", "other"}
    assert sum(stage["madds"] for stage in printed["stages"]) == printed["madds"]


def test_command_prints_a_table_and_saves(capsys, tmp_path):
    path = tmp_path / "architecture.json"
    words = f"cost --space asymmnet --width 0.35 --resolution 32 --stem cifar --classes 10 --save {path}"
    assert run(words.split()) == 0
    printed = capsys.readouterr().out
    assert "parameters" in printed and "stages.0" in printed
    assert run(["cost", str(path), "--json"]) == 0
    assert f"{json.loads(capsys.readouterr().out)['params']:,}" in printed


def test_command_compares_identity_multipliers(capsys):
    words = "cost --space mobilenext --width 0.1 --resolution 32 --identity 1,1/6 --json"
    assert run(words.split()) == 0
    one, sixth = json.loads(capsys.readouterr().out)["networks"]
    assert one["madds"] == sixth["madds"] and one["adds"] > sixth["adds"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", "cost of what"),
        ("--space nope", 'unknown space "nope"'),
        ("--space mobilenext --width 0", "--width"),
        ("--space mobilenext --identity 2", "--identity"),
        ("--space mobilenext --resolution big", '--resolution "big"'),
        ("--space mobilenext --size b0 --resolution 16", "--resolution 16"),
        ("--space mobilenext --stem x", '--stem "x"'),
        ("--space hbonet --asymmetry 1", "--asymmetry"),
        ("somewhere --width 1", "--width"),
        ("--space mobilenext --identity 1,1/2 --save a.json", "--save"),
    ],
)
def test_mistakes_take_one_line_and_status_2(words, said, capsys):
    assert run(["cost", *words.split()]) == 2
    printed = capsys.readouterr()
    assert said in printed.err and printed.err.count("\n") == 1 and not printed.out
