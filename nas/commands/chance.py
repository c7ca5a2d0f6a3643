"""A found cell among random cells of its space, untrained: what lies at an end of them all may have collapsed."""

import hashlib
import json
import sys
from contextlib import suppress
from dataclasses import asdict

import torch
from pydantic.dataclasses import dataclass

from nas.amounts import Cost
from nas.cells.chance import random_genotype
from nas.cells.genotype import Genotype
from nas.commands.edge_costs import edge_costs
from nas.commands.found_cell import cost_of_cell, network_of_cell
from nas.costs.proxies import naswot, synflow
from nas.data.dataset import Dataset
from nas.errors import UsageError
from nas.files import cache
from nas.macro.networks import usual_stem
from nas.rng import generator
from nas.run.documents import DOCUMENT, read, write
from nas.run.results import Chance, Marks
from nas.run.spec import Size
from nas.space import CellSpace

IMAGES = 32


@dataclass(frozen=True, config=DOCUMENT)
class Sample:
    """The marks of random cells, as they are kept."""

    marks: tuple[Marks, ...]


def against_chance(
    genotype: Genotype, space: CellSpace, size: Size, dataset: Dataset, cells: int, ops: str = ""
) -> Chance:
    """A cell's percentiles among so many random ones, whose marks are kept in the cache folder.

    Args:
        size: channels and cells of the networks; the search's own.
        dataset: of which images and classes count, not what is on them.
        ops: SHA-256 of the file of the user's operations.
    """
    from scipy.stats import percentileofscore

    own = asdict(marks_of(genotype, size, dataset, cost_of_cell(genotype, size, dataset)))
    sample = random_marks(space, size, dataset, cells, ops)
    percentiles = {
        name: float(percentileofscore([getattr(each, name) for each in sample], value, "mean"))
        for name, value in own.items()
    }
    return Chance(cells, Marks(**percentiles))


def random_marks(space: CellSpace, size: Size, dataset: Dataset, cells: int, ops: str) -> tuple[Marks, ...]:
    """The marks of random cells, read from the cache folder or made and kept there."""
    subject = [space.nodes, space.ops, space.skeleton, space.choices, asdict(size), dataset.shape, len(dataset.classes)]
    key = hashlib.sha256(json.dumps([1, *subject, cells, IMAGES, ops, torch.__version__]).encode()).hexdigest()[:16]
    file = f"chance-{key}.json"
    with suppress(UsageError):  # not there yet, or damaged
        return read(cache() / file, Sample).marks
    print(f"{cells} random cells of the space are looked at, once for its size", file=sys.stderr, flush=True)
    drawn = [random_genotype(space, generator(0, "chance", number)) for number in range(cells)]
    costs = edge_costs(space, size, dataset.shape, len(dataset.classes), usual_stem(dataset.shape))
    marks = tuple(marks_of(genotype, size, dataset, costs.of(genotype)) for genotype in drawn)
    with suppress(UsageError, OSError):  # a search does not end by a full disk, nor by another that writes the same
        cache().mkdir(parents=True, exist_ok=True)
        write(cache() / file, Sample(marks))
    return marks


def marks_of(genotype: Genotype, size: Size, dataset: Dataset, cost: Cost) -> Marks:
    """Of a cell's network with weights, and on images, that are random and always the same."""
    architecture = network_of_cell(genotype, size, dataset)
    images = torch.randn(IMAGES, *dataset.shape, generator=generator(0, "chance"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(0, "init").initial_seed())
        network = architecture.build().to(memory_format=torch.channels_last)
        codes = naswot(network, images.contiguous(memory_format=torch.channels_last))
    return Marks(params=cost.params, madds=cost.madds, naswot=codes, synflow=synflow(network, architecture.input))


def sentence(chance: Chance) -> str:
    """For people, in one line."""
    places = ", ".join(f"{name} {value:.0f}" for name, value in asdict(chance.percentiles).items())
    return f"percentile among {chance.cells} random cells of the space (tells a collapse, ranks nothing): {places}"
