"""One rank of test_workers.py, or the only one: a step of searches in float64."""

import sys
from collections.abc import Sequence
from typing import Any

import torch

from nas import data
from nas.bilevel.alignment import layer_alignment
from nas.bilevel.build import build_supernet
from nas.bilevel.curvature import dominant_eigenvalue
from nas.bilevel.gradients import Learner
from nas.data.batches import Augmentation, Stream
from nas.moment import Moment
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train.data_parallel import share_layers
from nas.train.process_group import ProcessGroup
from tests.ranks import write

OPERATIONS = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "dil_conv_5x5",
    "sandglass_3x3",
)
SPACE = CellSpace("small", "", 2, {name: {} for name in OPERATIONS})
CHANGES: dict[str, dict[str, Any]] = {
    "merged": {},
    "reference": {"engine": "reference"},
    "second order": {"order": 2},
    "one level": {"levels": 1},
    "perturbed": {"perturb": "adversarial", "epsilon": 0.3, "epsilon_min": 0.3},
    "frozen": {"freeze": 0.9},
    "partial": {"partial": 2, "recompute": True},
    "paths": {"relaxation": "path"},
    "uphill": {"sharpness": 0.1, "relaxation": "gumbel"},
    "eigenvalue": {"eigenvalue": 1},
}
"""Changes of settings; each takes another way to its gradients, the last to second derivatives."""


def step(changes: dict[str, Any], group: ProcessGroup, device: str = "cpu") -> dict[str, Any]:
    """Both gradients of a step (the weights' clipped), and all that is learnt after it."""
    settings = SearchSettings(channels=4, cells=4, batch=12, alpha_lr=0.1, clip=0.5, **changes)
    dataset = data.load("digits").limited(48, 0)
    augmentation = Augmentation.of(dataset, cutout=True, device=device)
    train, valid = (
        Stream(split, augmentation, settings.batch, 0, order, places=group.shard_slice)
        for split, order in zip(dataset.divided(24, 0), ("order", "alpha-order"), strict=True)
    )
    supernet = build_supernet(settings, SPACE, 10).double().to(device)
    supernet.to(memory_format=torch.channels_last)
    share_layers(supernet, group)
    learner = Learner(supernet.train(), settings, device)
    batches = [(images.double(), labels) for images, labels in (train.at(0), valid.at(0))]
    loss, _ = learner.step(Moment(0, 1, 2), *batches)
    tensors: dict[str, Any] = group.sum(loss=loss / group.world_size)
    for name, parameter in supernet.named_parameters():
        tensors |= {} if parameter.grad is None else {f"gradient of {name}": parameter.grad}
    if settings.relaxation != "path":
        tensors["alignment"] = torch.tensor(layer_alignment(supernet, batches[0]), dtype=torch.float64)
    if changes.get("eigenvalue"):
        tensors["eigenvalue"] = torch.tensor(dominant_eigenvalue(supernet, batches[1]), dtype=torch.float64)
    watched = learner.freezer.state_dict() if learner.freezer else {}
    return tensors | supernet.state_dict() | watched


def steps(names: Sequence[str], group: ProcessGroup) -> dict[str, dict[str, Any]]:
    """One with each of these changes."""
    return {name: step(CHANGES[name], group) for name in names}


if __name__ == "__main__":
    write(lambda: steps(sys.argv[5:], ProcessGroup.current(12)))
