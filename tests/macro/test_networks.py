"""Any legal setting builds and runs; documents say all that is needed; bad input is one line."""

import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas.architecture import from_json, of_network
from nas.errors import UsageError
from nas.macro.families import FAMILIES, resolve
from nas.macro.networks import build, document, from_document, refit
from nas.macro.rounding import to_nearest, upwards
from nas.macro.settings import changed, macro_settings

VARIANTS = [
    ("mobilenet_v1", {}),
    ("mobilenet_v2", {}),
    ("mobilenet_v3", {"size": "large"}),
    ("mobilenet_v3", {"size": "small", "convention": "timm"}),
    ("mobilenext", {}),
    ("mobilenext", {"size": "b0"}),
    ("mobilenext", {"size": "b1"}),
    ("hbonet", {}),
    ("asymmnet", {"size": "large"}),
    ("asymmnet", {"size": "small"}),
    ("asymmnet", {"pruned": True}),
]


def on_meta(network, settings, *, shape=(3, 64, 64), stem="imagenet", classes=10):
    with torch.device("meta"):
        module = build(network, settings, input=shape, classes=classes, stem=stem)
        return module(torch.empty(2, *shape))


@st.composite
def legal(draw):
    network, chosen = draw(st.sampled_from(VARIANTS))
    chosen = {**chosen, "width": draw(st.integers(10, 200)) / 100}
    knobs = FAMILIES[network].knobs
    ranges = {
        "expansion": st.none() | st.floats(1 if chosen.get("pruned") else 0.5, 10),
        "reduction": st.floats(1, 10),
        "contraction": st.sampled_from([2, 4, 8]),
        "upsample": st.sampled_from(["nearest", "bilinear"]),
        "identity": st.fractions(0, 1).map(str),
    }
    chosen |= {name: draw(values) for name, values in ranges.items() if name in knobs}
    if "asymmetry" in knobs and not chosen.get("pruned"):
        halves = [r / 2 for r in range(20) if r / 2 < (chosen["expansion"] or 6)]
        chosen["asymmetry"] = draw(st.sampled_from(halves))
    return network, chosen


@settings(max_examples=25, deadline=None, derandomize=True)
@given(legal(), st.integers(32, 512), st.integers(32, 512), st.sampled_from(["imagenet", "cifar"]))
def test_any_legal_setting_runs_forward_and_backward(setting, height, width, stem):
    logits = on_meta(*setting, shape=(3, height, width), stem=stem)
    assert logits.shape == (2, 10)
    logits.sum().backward()


@pytest.mark.parametrize(("network", "setting"), VARIANTS, ids=str)
@pytest.mark.parametrize("classes", [10, 100])
def test_cifar_port(network, setting, classes):
    module = build(network, {**setting, "width": 0.25}, input=(3, 32, 32), classes=classes, stem="cifar")
    logits = module(torch.randn(2, 3, 32, 32))
    logits.square().mean().backward()
    assert logits.shape == (2, classes)
    assert torch.isfinite(logits).all()
    strides = [[row.get("stride", 1) for row in resolve(network, setting, stem)] for stem in ("imagenet", "cifar")]
    assert [sum(stride == 2 for stride in column) for column in strides] == [5, 3]
    assert strides[1][0] == 1


@pytest.mark.parametrize("width", [0.45, 0.7, 0.95, 1.2, 1.4])
def test_hbonet_where_the_published_code_crashes(width):
    assert on_meta("hbonet", {"width": width}).shape == (2, 10)


@pytest.mark.parametrize("size", ["large", "small"])
def test_asymmnet_where_the_published_code_crashes(size):
    setting = {"width": 0.35, "asymmetry": 2.0, "size": size}
    rates = [row["rate"] for row in resolve("asymmnet", setting) if row["block"] == "asymmetric"]
    assert "1" in rates and "2" in rates
    assert on_meta("asymmnet", setting).shape == (2, 10)


def test_the_identity_multiplier_reaches_the_shortcuts_exactly():
    with torch.device("meta"):
        network = build("mobilenext", {"identity": "1/3"})
    shortcuts = [block.outer for block in network.modules() if type(block).__name__ == "Sandglass" and block.outer]
    assert shortcuts == [64] * 2 + [96] * 2 + [128] * 3 + [192] * 3 + [320] * 2


@pytest.mark.parametrize(("network", "setting"), VARIANTS, ids=str)
def test_documents_build_the_same_network(network, setting):
    torch.manual_seed(0)
    one = build(network, {**setting, "width": 0.1}, input=(3, 32, 32), classes=10, stem="cifar").eval()
    said = document(network, {**setting, "width": 0.1}, input=(3, 32, 32), classes=10, stem="cifar")
    other = from_document(json.loads(json.dumps(said))).eval()
    other.load_state_dict(one.state_dict())
    image = torch.randn(1, 3, 32, 32)
    assert torch.equal(one(image), other(image))
    assert document(network, said["settings"], input=(3, 32, 32), classes=10, stem="cifar") == said


def test_refit_takes_the_stem_that_suits_the_images():
    large = document("hbonet", {"width": 0.5})
    small = document("hbonet", {"width": 0.5}, input=(3, 32, 32), classes=10, stem="cifar")
    assert refit(large, input=(3, 32, 32), classes=10) == small
    assert refit(small, input=(3, 224, 224), classes=1000) == large
    edited = {**large, "rows": large["rows"][:-1]}
    assert refit(edited, input=(3, 32, 32), classes=10) == {**edited, "input": [3, 32, 32], "classes": 10}


def test_steps_widen_single_stages():
    plain, wider = resolve("mobilenet_v2"), resolve("mobilenet_v2", {"steps": [0, 0, 0, 2]})
    assert {row["stage"] for row, own in zip(wider, plain, strict=True) if row != own} == {3, 4}
    assert [row["c_out"] for row in wider if row["stage"] == 3] == [48, 48, 48]


@pytest.mark.parametrize(
    ("network", "setting", "said"),
    [
        ("mobilenet_v9", {}, "unknown network"),
        ("hbonet", {"identity": "1/2"}, "--identity: hbonet has no such setting"),
        ("mobilenext", {"width": 0.0}, "--width"),
        ("mobilenext", {"identity": "2"}, "--identity"),
        ("mobilenext", {"identity": "1/0"}, "--identity"),
        ("mobilenext", {"size": "large"}, "--size"),
        ("mobilenext", {"groups": 2}, "--groups"),
        ("asymmnet", {"asymmetry": 0.3}, "half-step"),
        ("asymmnet", {"asymmetry": 2.0, "expansion": 2.0}, "below the expansion"),
        ("asymmnet", {"asymmetry": 2.0, "pruned": True}, "--pruned"),
        ("asymmnet", {"expansion": 0.5, "pruned": True}, "--pruned"),
        ("mobilenet_v2", {"expansion": 11.0}, "--expansion"),
        ("mobilenet_v2", {"deepth": 2}, "unknown field"),
    ],
)
def test_bad_settings_are_refused_in_one_line(network, setting, said):
    with pytest.raises(UsageError, match=said) as caught:
        build(network, setting)
    assert "\n" not in str(caught.value)


def test_bad_rows_are_refused():
    said = document("mobilenet_v2", classes=10)
    for rows in ([{"stage": 0}], [{"stage": 0, "block": "nothing"}], [{**said["rows"][0], "kernel": "x"}]):
        with pytest.raises(UsageError, match='"rows" do not make a network'):
            from_document({**said, "rows": rows})
    whole = of_network("mobilenet_v2", {}, input=(3, 32, 32), classes=10).document()
    for odd in (
        {"block": "nothing"},
        {"block": None},
        {"hidden": None},
        {"stride": 0},
        {"squeeze": "x"},
        {"kernel": []},
    ):
        with pytest.raises(UsageError, match="rows"):
            from_json({**whole, "rows": [*whole["rows"][:1], {**whole["rows"][1], **odd}, *whole["rows"][2:]]})


def test_documents_of_before_keep_their_batch_norm():
    """AsymmNet and timm's MobileNetV3 had TensorFlow's: what was trained with it is run with it."""
    said = of_network("asymmnet", {"width": 0.35}, input=(3, 32, 32), classes=10).document()
    assert norms_of(from_json(said)) == {1e-5}
    del said["norm"]
    before = from_json(said)
    assert norms_of(before) == norms_of(from_json(before.document())) == {1e-3}


def norms_of(architecture):
    return {module.eps for module in architecture.build_meta().modules() if isinstance(module, nn.BatchNorm2d)}


def test_settings_survive_json():
    chosen = macro_settings({"width": 0.75, "identity": "0.5", "steps": [0, 1]})
    assert changed(chosen) == {"width": 0.75, "identity": "1/2", "steps": [0, 1]}
    assert macro_settings(changed(chosen)) == chosen


def test_rounding_rules():
    assert [to_nearest(Fraction(v), 8) for v in (1, 11, 12, 18, 42)] == [8, 16, 16, 24, 40]
    assert [upwards(Fraction(v), 8) for v in (1, 8, 9)] == [8, 8, 16]
