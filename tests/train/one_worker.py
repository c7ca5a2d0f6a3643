"""One worker of test_parallel.py, or the only one: ``one_worker.py RENDEZVOUS RANK SIZE OUT``, two steps in float64."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from nas.train.parallel import Team

from nas import data
from nas.architecture import Architecture, from_json, of_genotype
from nas.cells.genotype import read
from nas.data.batches import Augmentation, Stream
from nas.macro.networks import document
from nas.settings import TrainSettings
from nas.train.loop import draw_masks, train_step
from nas.train.recipe import make_optimizer

TEXT = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
SETTINGS = TrainSettings(data="digits", batch=20, limit=40, epochs=2, drop_path=0.4, clip=0.5, label_smoothing=0.1)


def architectures() -> dict[str, Architecture]:
    """A found cell with auxiliary head and dropped paths, and a network with dropout."""
    cell = of_genotype(read(TEXT, "text"), channels=4, cells=3, input=(3, 16, 16), classes=10)
    macro = document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar")
    return {"cell": cell.changed(auxiliary=True), "dropout": from_json(macro)}


def two_steps(architecture: Architecture, team: Team) -> dict[str, Any]:
    """Losses, gradients (clipped) of the first step, and the network's state after the second."""
    dataset = data.load("digits").limited(SETTINGS.limit, 0)
    stream = Stream(dataset.train, Augmentation.of(dataset, cutout=True, device="cpu"), 20, 0, places=team.places)
    torch.manual_seed(0)
    network = architecture.build().double()
    optimizer = make_optimizer(network, SETTINGS)
    spread, found = team.spread(network.train()), {}
    settings = replace(SETTINGS, accumulate=team.accumulate)
    for step in range(2):
        masks = draw_masks(network, settings, 1, step, team.places)
        images, labels = stream.at(step)
        loss, _ = train_step(spread, optimizer, (images.double(), labels), settings, "cpu", masks, team)
        found[f"loss {step}"] = team.sum(loss=loss)["loss"]
        if step == 0:
            gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
            found |= {f"gradient of {name}": gradient.clone() for name, gradient in gradients.items()}
    return found | network.state_dict()


def both(team: Callable[[int, int], Team]) -> dict[str, dict[str, Any]]:
    """Both networks, with the batch in one part and in three."""
    return {
        f"{name} in {accumulate}": two_steps(architecture, team(SETTINGS.batch, accumulate))
        for name, architecture in architectures().items()
        for accumulate in (1, 3)
    }


def main(rendezvous: str, rank: int, size: int, out: str) -> None:
    """Writes what this worker found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    torch.save(both(Team.present), f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
