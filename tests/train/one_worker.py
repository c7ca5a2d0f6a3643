"""One rank of test_process_group.py, or the only one: two steps in float64."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from nas import data
from nas.architecture import Architecture, from_json, of_genotype
from nas.cells.genotype import read
from nas.data.batches import Augmentation, Stream
from nas.macro.networks import document
from nas.settings import TrainSettings
from nas.train.data_parallel import data_parallel
from nas.train.process_group import ProcessGroup
from nas.train.recipe import make_optimizer
from nas.train.step import draw_masks, train_step
from tests.ranks import write

TEXT = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
SETTINGS = TrainSettings(data="digits", batch=20, limit=40, epochs=2, drop_path=0.4, clip=0.5, label_smoothing=0.1)


def architectures() -> dict[str, Architecture]:
    """A cell with auxiliary head and dropped paths, and a network with dropout."""
    cell = of_genotype(read(TEXT, "text"), channels=4, cells=3, input=(3, 16, 16), classes=10)
    macro = document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar")
    return {"cell": cell.changed(auxiliary=True), "dropout": from_json(macro)}


def two_steps(architecture: Architecture, group: ProcessGroup) -> dict[str, Any]:
    """Losses, gradients (clipped) of the first step, and the network's state after the second."""
    dataset = data.load("digits").limited(SETTINGS.limit, 0)
    stream = Stream(dataset.train, Augmentation.of(dataset, cutout=True, device="cpu"), 20, 0, places=group.places)
    torch.manual_seed(0)
    network = architecture.build().double()
    optimizer = make_optimizer(network, SETTINGS)
    parallel, tensors = data_parallel(network.train(), group), {}
    settings = replace(SETTINGS, accumulate=group.accumulate)
    for step in range(2):
        masks = draw_masks(network, settings, 1, step, group.places)
        images, labels = stream.at(step)
        loss, _ = train_step(parallel, optimizer, (images.double(), labels), settings, "cpu", masks, group)
        tensors[f"loss {step}"] = group.sum(loss=loss)["loss"]
        if step == 0:
            gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
            tensors |= {f"gradient of {name}": gradient.clone() for name, gradient in gradients.items()}
    return tensors | network.state_dict()


def both(group: Callable[[int, int], ProcessGroup]) -> dict[str, dict[str, Any]]:
    """Both networks, with the batch in one micro-batch and in three."""
    return {
        f"{name} in {accumulate}": two_steps(architecture, group(SETTINGS.batch, accumulate))
        for name, architecture in architectures().items()
        for accumulate in (1, 3)
    }


if __name__ == "__main__":
    write(lambda: both(ProcessGroup.current))
