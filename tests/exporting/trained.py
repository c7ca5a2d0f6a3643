"""Small trained runs of both branches, on the made-up CIFAR-10."""

from pathlib import Path

from nas.architecture import Architecture, from_json, of_genotype
from nas.cells.genotype import from_text
from nas.commands import retraining
from nas.execution import Execution
from nas.macro import networks
from nas.presets import TRAIN_PRESETS, resolve
from nas.run.folder import Run
from nas.settings import TrainSettings

TEXTS = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text()


def published(name: str) -> str:
    return TEXTS.split(f"{name} = ")[1].splitlines()[0]


def macro(network: str = "mobilenext", **settings: object) -> Architecture:
    return from_json(
        networks.document(network, {"width": 0.1, **settings}, input=(3, 32, 32), classes=10, stem="cifar")
    )


def short() -> Architecture:
    """MobileNeXt's first blocks."""
    document = macro(width=0.25).document()
    return from_json({**document, "rows": [*document["rows"][:5], *document["rows"][-2:]]})


def cell(text: str | None = None, channels: int = 4) -> Architecture:
    return of_genotype(from_text(text or published("DARTS_V2")), channels=channels, cells=3)


def trained(architecture: Architecture, cifar: Path, runs: Path, auxiliary: float = 0.0) -> Run:
    changes = {"epochs": 1, "batch": 20, "auxiliary": auxiliary}
    settings = resolve(TrainSettings, TRAIN_PRESETS, "quick", changes)
    execution = Execution("cpu", 1, cifar)
    return retraining.retrain(architecture, settings, preset="quick", runs=runs, execution=execution)
