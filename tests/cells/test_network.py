"""Parameters and multiply-adds of the published cell networks, to the last one."""

import csv
import json
from pathlib import Path

import pytest
import torch

from nas.architecture import of_genotype
from nas.blocks.drop_path import draw_paths, set_paths
from nas.cells.found import found_network
from nas.cells.genotype import Genotype, from_text, pruned
from nas.cells.supernet import Supernet
from nas.costs.count import count
from nas.errors import UsageError
from nas.space import load

GOLDEN = Path(__file__).parents[1] / "golden"
LINES = (GOLDEN / "genotypes.txt").read_text().splitlines()
PUBLISHED = {line.split(" ")[0]: from_text(line) for line in LINES if not line.startswith("#")}
ROWS = list(csv.DictReader((GOLDEN / "costs.csv").read_text().splitlines()))
NETWORKS = [row for row in ROWS if row["family"] in ("DARTS", "PC-DARTS") and row["variant"].split(" ")[0] in PUBLISHED]
SEARCHED = [
    row
    for row in ROWS
    if row["variant"].startswith("search network") and row["family"] != "PC-DARTS" and "floor" not in row["variant"]
]


def size(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("row", NETWORKS, ids=lambda row: row["variant"])
def test_published_networks(row: dict[str, str]) -> None:
    name, data = row["variant"].split(" ")[:2]
    cifar = data == "CIFAR-10"
    extra = json.loads(row["extra"])
    architecture = of_genotype(
        PUBLISHED[name],
        channels=extra["C"],
        cells=extra["L"],
        input=(3, 32, 32) if cifar else (3, 224, 224),
        classes=10 if cifar else 1000,
        stem="cifar" if cifar else "imagenet",
    )
    cost = count(architecture.build_meta(), architecture.input)
    assert (cost.params, cost.madds) == (int(row["params"]), int(row["madds"]))
    if "params_with_auxiliary" in extra:
        assert size(architecture.changed(auxiliary=True).build_meta()) == extra["params_with_auxiliary"]


SPACES = {"inverted residual": "ir", "sandglass": "sandglass"}


@pytest.mark.parametrize("row", SEARCHED, ids=lambda row: row["variant"])
def test_search_networks(row: dict[str, str]) -> None:
    space = "darts"
    if ":" in row["variant"]:
        block, _, t = row["variant"].partition(": ")[2].rpartition(" t=")
        space = f"darts+{SPACES[block]}:t={t}"
    with torch.device("meta"):
        supernet = Supernet(load(space))
    assert size(supernet.network) == int(row["params"])
    assert sum(alpha.numel() for alpha in supernet.alphas.values()) == json.loads(row["extra"]).get(
        "architecture_parameters"
    )
    cost = count(supernet, (3, 32, 32))
    assert cost.madds == int(row["madds"])


def test_substituted_sandglass() -> None:
    """DARTS_V2 with every separable convolution 3×3 a sandglass: the hypothetical rows of MobileNeXt's Table 9."""
    text = (GOLDEN / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
    genotype = from_text(text.replace("sep_conv_3x3", "sandglass_3x3"))
    architecture = of_genotype(genotype)
    cost = count(architecture.build_meta(), architecture.input)
    assert (cost.params, cost.madds) == (2_555_542, 408_919_680)


def test_auxiliary_logits_in_training_only() -> None:
    network = found_network(PUBLISHED["DARTS_V2"], channels=4, cells=3, auxiliary=True)
    images = torch.randn(2, 3, 32, 32)
    logits, auxiliary = network(images)
    assert logits.shape == auxiliary.shape == (2, 10)
    assert network.eval()(images).shape == (2, 10)


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("side", [16, 17, 33])
def test_any_image_size(name: str, side: int) -> None:
    network = found_network(PUBLISHED[name], channels=4, cells=4, auxiliary=True)
    logits, auxiliary = network(torch.randn(2, 3, side, side + 3))
    (logits.sum() + auxiliary.sum()).backward()
    assert logits.isfinite().all()


def test_dropped_paths() -> None:
    network = found_network(PUBLISHED["DARTS_V2"], channels=4, cells=3)
    masks = draw_paths(network, 0.5, 64, torch.Generator().manual_seed(0))
    skips = sum(name == "skip_connect" for pairs in PUBLISHED["DARTS_V2"].normal.nodes for name, _ in pairs)
    assert len(masks) == 3 * 8 - 1 * skips - 2 * 3  # identities of one normal and two reduction cells are never dropped
    assert set(masks.unique().tolist()) == {0.0, 2.0}
    images = torch.randn(64, 3, 16, 16)
    network.train()
    plain = network(images)
    set_paths(network, masks)
    assert not torch.allclose(network(images), plain)
    set_paths(network, None)


def test_a_node_that_reads_nothing() -> None:
    """It leaves the output, and what reads only it too; the cells after it are narrower."""
    nodes = [[], [("sep_conv_3x3", 1)], [("skip_connect", 2)], [("skip_connect", 3), ("max_pool_3x3", 0)]]
    cell = pruned(nodes, (2, 3, 4, 5))
    network = found_network(Genotype(cell, cell), channels=4, cells=4).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert network.classifier.in_features == 2 * 16
    network(images).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    states = [torch.randn(2, 8, 8, 8).double(), torch.randn(2, 8, 8, 8).double()]
    last = network.cells[3]
    last.inputs = torch.nn.ModuleList([torch.nn.Identity()] * 2)
    last.fan_outs[1].operations[0] = torch.nn.Identity()
    expected = torch.cat([states[1], states[1] + torch.nn.functional.max_pool2d(states[0], 3, 1, 1)], 1)
    torch.testing.assert_close(last(states)[:, :16], expected)


ALL = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|nor_conv_3x3~0|nor_conv_3x3~1|nor_conv_3x3~2|"
SKIPS = "|skip_connect~0|+|none~0|skip_connect~1|+|none~0|none~1|avg_pool_3x3~2|"


@pytest.mark.parametrize(
    ("text", "params", "flops"), [(ALL, 1_531_546, 220_119_690), (SKIPS, 73_306, 7_783_050)], ids=["all 3x3", "none"]
)
def test_networks_of_nas_bench_201(text: str, params: int, flops: int) -> None:
    """The largest and the smallest of the published ones, whose FLOPs are multiply-adds and the classifier's biases."""
    architecture = of_genotype(from_text(text))
    assert (architecture.body["channels"], architecture.body["cells"]) == (16, 15)
    cost = count(architecture.build_meta(), architecture.input)
    assert (cost.params, cost.madds + 10) == (params, flops)
    logits, auxiliary = architecture.changed(cells=3, auxiliary=True).build()(torch.randn(2, 3, 17, 16))
    assert logits.isfinite().all() and auxiliary.isfinite().all()


def test_a_cell_of_nas_bench_201_is_its_last_node() -> None:
    network = found_network(from_text(SKIPS), channels=4, cells=3)
    x = torch.randn(2, 4, 6, 6)
    expected = torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(network.cells[0]([x]), expected)


def test_three_equal_parts() -> None:
    with pytest.raises(UsageError, match=r"--cells 4: .* a multiple of 3"):
        of_genotype(from_text(ALL), cells=4)
    with pytest.raises(UsageError, match="a multiple of 3"):
        of_genotype(from_text(ALL)).changed(cells=8)
