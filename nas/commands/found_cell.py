"""A found cell as a network: of which size, on which images, and its documents in a run folder."""

from dataclasses import replace

from nas.amounts import Cost
from nas.architecture import Architecture, of_genotype
from nas.cells.draw import draw
from nas.cells.genotype import Genotype, read
from nas.costs.count import count
from nas.data.dataset import Dataset
from nas.files import read_text
from nas.macro.networks import usual_stem
from nas.run import names
from nas.run.folder import Run
from nas.run.spec import DeriveSpec, SearchSpec, Size


def network_of_cell(genotype: Genotype, final: Size, dataset: Dataset) -> Architecture:
    """The network to retrain."""
    return of_genotype(
        genotype,
        input=dataset.shape,
        classes=len(dataset.classes),
        channels=final.channels,
        cells=final.cells,
        stem=usual_stem(dataset.shape),
    )


def cost_of_cell(genotype: Genotype, final: Size, dataset: Dataset) -> Cost:
    """What its network costs."""
    architecture = network_of_cell(genotype, final, dataset)
    cost = count(architecture.build_meta(), architecture.input)
    return Cost(cost.madds, cost.params)


def write_cell(run: Run, genotype: Genotype, spec: SearchSpec | DeriveSpec, dataset: Dataset) -> None:
    """Writes genotype.json, cells.svg and architecture.json."""
    run.write(names.GENOTYPE, genotype.document())
    network = network_of_cell(genotype, spec.final, dataset)
    run.write(names.ARCHITECTURE, replace(network, origin=spec.origin).document())
    draw(genotype, run.path / names.PICTURE, "svg")


def read_genotype(run: Run) -> Genotype:
    """The genotype that a run has written.

    Raises:
        UsageError: it has none, or it is damaged.
    """
    path = run.path / names.GENOTYPE
    return read(read_text(path), str(path))
