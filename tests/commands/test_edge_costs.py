"""The costs of a space's choices add up to what counting the real network gives, to the last multiply-add."""

import pytest
import torch

from nas.amounts import Cost, Limits
from nas.architecture import of_genotype
from nas.bilevel.derivation import derive_within, frontier
from nas.cells.genotype import KINDS
from nas.cells.supernet import derive
from nas.commands.edge_costs import edge_costs
from nas.costs.count import count
from nas.run.spec import Size
from nas.space import load

SIZES = {
    "paper": (Size(36, 20), (3, 32, 32), 10, "cifar"),
    "odd": (Size(6, 5), (3, 29, 23), 7, "cifar"),
    "imagenet": (Size(8, 4), (3, 75, 75), 3, "imagenet"),
}


@pytest.mark.parametrize("text", ["darts", "darts+sandglass:t=3", "darts+ir+harmonious+asymmetric+pruned", "s2"])
@pytest.mark.parametrize("case", SIZES)
def test_a_genotypes_cost_is_its_networks(text: str, case: str) -> None:
    size, image, classes, stem = SIZES[case]
    space, stream = load(text), torch.Generator().manual_seed(0)
    costs = edge_costs(space, size, image, classes, stem)
    for _ in range(2):
        strengths = {kind: torch.rand(space.edges, len(space.ops), generator=stream) for kind in space.kinds}
        genotype = derive(space, strengths)
        architecture = of_genotype(
            genotype, channels=size.channels, cells=size.cells, input=image, classes=classes, stem=stem
        )
        real = count(architecture.build_meta(), image)
        assert costs.of(genotype) == Cost(real.madds, real.params)


def test_a_limit_is_kept_by_the_real_network() -> None:
    space, stream = load("darts+sandglass"), torch.Generator().manual_seed(1)
    costs = edge_costs(space, Size(8, 5), (3, 32, 32), 10)
    strengths = {kind: torch.randn(space.edges, len(space.ops), generator=stream).softmax(-1) for kind in KINDS}
    front = frontier(strengths, costs)
    low, high = front[-1].cost.madds, front[0].cost.madds
    for share in (0.25, 0.5, 0.75):
        limit = int(low + share * (high - low))
        genotype, option = derive_within(strengths, costs, Limits(madds=limit))
        real = count(of_genotype(genotype, channels=8, cells=5).build_meta(), (3, 32, 32))
        assert 0.9 * limit < real.madds <= limit and real.madds == option.cost.madds


def test_of_the_cells_of_nas_bench_201() -> None:
    """All edges stay, ``none`` among them."""
    space, stream = load("nasbench201"), torch.Generator().manual_seed(2)
    costs = edge_costs(space, Size(16, 15), (3, 32, 32), 10)
    strengths = {"normal": torch.rand(space.edges, len(space.ops), generator=stream)}
    genotype = derive(space, strengths)
    real = count(of_genotype(genotype, channels=16, cells=15).build_meta(), (3, 32, 32))
    assert costs.of(genotype) == Cost(real.madds, real.params)
    cheapest, _ = derive_within(strengths, costs, Limits(madds=costs.rest.madds))
    assert costs.of(cheapest).madds == costs.rest.madds and "conv_3x3" not in cheapest.operations
