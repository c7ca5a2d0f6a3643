"""Every published network costs what the official code costs, to the last parameter and multiply-add."""

import csv
import json
from math import ceil

import pytest
import torch
import torchvision
from torch import nn

from nas.costs.count import count
from nas.macro.families import FAMILIES
from nas.macro.networks import build
from nas.macro.published import published
from nas.macro.rounding import upwards
from nas.macro.rows import widths
from nas.macro.settings import MacroSettings
from tests.macro.golden_rows import GOLDEN, rows, setting

ROWS = rows()
NORMS = list(csv.DictReader((GOLDEN.parent / "norms.csv").read_text(encoding="utf-8").splitlines()))


def cost_of(network, settings, resolution):
    with torch.device("meta"):
        module = build(network, settings)
    cost = count(module, (3, resolution, resolution))
    return cost.params, cost.madds


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['variant']} {row['width']} {row['resolution']}")
def test_costs_of_the_official_code(row):
    network, settings = setting(row)
    assert cost_of(network, settings, int(row["resolution"])) == (int(row["params"]), int(row["madds"]))


@pytest.mark.parametrize("row", [row for row in ROWS if row["resolution"] == "224"], ids=lambda row: row["variant"])
def test_parameters_without_batch_norms(row):
    extra = json.loads(row["extra"])
    network, settings = setting(row)
    with torch.device("meta"):
        module = build(network, settings)
    norms = sum(p.numel() for m in module.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters())
    assert int(row["params"]) - norms == extra["params_without_batchnorm"]
    if tool := extra.get("params_as_counted_by_repo_tool"):
        assert as_asymmnets_tool_counts(module) == tool


def as_asymmnets_tool_counts(module):
    """The figure in AsymmNet's tables: a convolution's k where k² belongs."""
    convolutions = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    missed = sum(m.weight.numel() - m.weight.numel() // m.kernel_size[0] for m in convolutions)
    return sum(p.numel() for p in module.parameters()) - missed


def test_all_golden_rows_are_there():
    assert len(ROWS) == 166


@pytest.mark.parametrize(("width", "divisor"), [(0.1, 4), (0.25, 2), (0.5, 2), (0.35, 8)])
def test_hbonet_takes_its_published_divisor_by_itself(width, divisor):
    assert cost_of("hbonet", {"width": width}, 96) == cost_of("hbonet", {"width": width, "divisor": divisor}, 96)


@pytest.mark.parametrize(
    ("network", "settings", "params", "madds"),
    [
        ("mobilenext", {"size": "b0", "width": 0.5}, 1_377_821, 100_022_736),
        ("mobilenext", {"width": 0.1}, 1_627_316, 28_084_568),
        ("hbonet", {"width": 1.15}, 5_766_872, 385_894_944),
    ],
)
def test_costs_of_the_official_code_beyond_its_tables(network, settings, params, madds):
    assert cost_of(network, settings, 224) == (params, madds)


@pytest.mark.parametrize(
    ("channels", "width", "published"),
    [(400, 0.29, 112), (400, 0.57, 224), (200, 0.58, 112), (400, 1.13, 448), (200, 1.14, 224), (400, 1.15, 456)],
)
def test_widths_are_floats_as_in_the_published_code(channels, width, published):
    """HBONet's. In fractions each lies on a half and would be rounded up."""
    assert max(8, int(channels * width + 4) // 8 * 8) == published
    assert widths(MacroSettings(width=width)).scaled(channels) == published


@pytest.mark.parametrize(("width", "published"), [(0.28, 64), (0.56, 120), (1.12, 232)])
def test_asymmnets_too(width, published):
    assert ceil(200 * width / 8) * 8 == published == widths(MacroSettings(width=width), upwards).scaled(200)


@pytest.mark.parametrize("row", NORMS, ids=lambda row: f"{row['network']} {row['settings']}")
def test_every_batch_norm_is_the_official_codes(row):
    settings = dict(item.split("=") for item in row["settings"].split())
    settings |= {"pruned": True} if "pruned" in settings else {}
    with torch.device("meta"):
        module = build(row["network"], settings)
    norms = {(m.eps, m.momentum) for m in module.modules() if isinstance(m, nn.BatchNorm2d)}
    assert norms == {(float(row["eps"]), float(row["momentum"]))}
    if row["where"].startswith("torchvision"):
        reference = getattr(torchvision.models, row["where"].split()[-1])()
        assert norms == {(m.eps, m.momentum) for m in reference.modules() if isinstance(m, nn.BatchNorm2d)}


def test_norms_of_all_families_are_there():
    assert {row["network"] for row in NORMS} == set(FAMILIES)


def test_mobilenet_v1_by_its_published_figures():
    # Howard et al., 2017, Table 6: 4.2M and 569M; 0.5M and 41M
    assert cost_of("mobilenet_v1", {}, 224) == (4_231_976, 568_740_352)
    assert cost_of("mobilenet_v1", {"width": 0.25}, 224) == (470_072, 41_030_272)


def test_mobilenext_has_12_shortcuts_and_33_depthwise_convolutions():
    with torch.device("meta"):
        blocks = [block for block in build("mobilenext").modules() if type(block).__name__ == "Sandglass"]
    depthwise = [sum(getattr(m, "groups", 1) > 1 for m in block.modules()) for block in blocks]
    assert (len(blocks), sum(block.outer > 0 for block in blocks)) == (20, 12)
    assert [depthwise.count(n) for n in (2, 1, 0)] == [15, 3, 2]


def test_published_figures_are_those_of_the_golden_file():
    golden = {(row["paper_params_M"], row["paper_madds_M"]) for row in ROWS if row["paper_madds_M"]}
    known = {
        ("" if r.params is None else f"{r.params:g}", "" if r.madds is None else f"{r.madds:g}") for r in published()
    }
    assert golden <= known
    assert {row.network for row in published()} == set(FAMILIES)
