"""One worker of test_parallel.py, or the only one: ``one_worker.py RENDEZVOUS RANK SIZE OUT``, two steps in float64."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nas import data
from nas.architecture import Architecture, from_json, of_genotype
from nas.cells.genotype import read
from nas.data.batches import Augmentation, Stream
from nas.macro.networks import document
from nas.settings import TrainSettings
from nas.train.parallel import Team
from nas.train.recipe import make_optimizer
from nas.train.step import draw_masks, learn

TEXT = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]
SETTINGS = TrainSettings(data="digits", batch=10, limit=40, epochs=2, drop_path=0.4, clip=0.5, label_smoothing=0.1)


def architectures() -> dict[str, Architecture]:
    """A found cell with auxiliary head and dropped paths, and a network with dropout."""
    cell = of_genotype(read(TEXT, "text"), channels=4, cells=3, input=(3, 16, 16), classes=10)
    macro = document("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10, stem="cifar")
    return {"cell": cell.changed(auxiliary=True), "dropout": from_json(macro)}


def two_steps(architecture: Architecture, team: Team) -> dict[str, Any]:
    """Losses, gradients (clipped) of the first step, and the network's state after the second."""
    dataset = data.load("digits").limited(SETTINGS.limit, 0)
    stream = Stream(dataset.train, Augmentation.of(dataset, cutout=True, device="cpu"), 10, 0, part=team.part)
    torch.manual_seed(0)
    network = architecture.build().double()
    optimizer = make_optimizer(network, SETTINGS)
    spread, found = team.spread(network.train()), {}
    for step in range(2):
        masks = draw_masks(network, SETTINGS, 1, step, team.part)
        images, labels = stream.at(step)
        loss, _ = learn(spread, optimizer, (images.double(), labels), SETTINGS, "cpu", masks, team.scale)
        found[f"loss {step}"] = team.sum(loss=loss * team.scale / team.size)["loss"]
        if step == 0:
            gradients = {name: weight.grad for name, weight in network.named_parameters() if weight.grad is not None}
            found |= {f"gradient of {name}": gradient.clone() for name, gradient in gradients.items()}
    return found | network.state_dict()


def main(rendezvous: str, rank: int, size: int, out: str) -> None:
    """Both networks; the first worker writes what it found."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=size)
    found = {name: two_steps(architecture, Team.present(10)) for name, architecture in architectures().items()}
    torch.save(found, f"{out}.{rank}")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
