"""What a training starts from: its images, the seed's weights or trained ones, and which parts stay as they are."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from nas import data
from nas.architecture import Architecture, stages
from nas.data.dataset import Dataset
from nas.errors import UsageError
from nas.execution import Execution
from nas.rng import generator
from nas.run.folder import Run
from nas.run.names import INIT
from nas.settings import SearchSettings, TrainSettings
from nas.train.weights import read_weights


def load_data(settings: SearchSettings | TrainSettings, execution: Execution, device: str = "cpu") -> Dataset:
    """The images of a search or training, with so many of the training ones as its settings say."""
    dataset = data.load(settings.data, root=execution.data_root, image_size=settings.image_size, device=device)
    return dataset.limited(settings.limit, settings.seed)


def build(run: Run, architecture: Architecture, settings: TrainSettings) -> nn.Module:
    """The network with the weights that belong to the seed, or, where the run has them, those it starts from."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator(settings.seed, "init").initial_seed())
        network = architecture.build()
    if (run.path / INIT).is_file():
        network.load_state_dict(read_weights(run.path / INIT), strict=False)  # chosen by fitting()
    return network


def fitting(
    weights: Mapping[str, Tensor], architecture: Architecture, *, new_head: bool, where: str
) -> dict[str, Tensor]:
    """Those of the weights that a network starts from.

    Args:
        new_head: whether the classifiers are new.
        where: the weights' origin, for the message.

    Raises:
        UsageError: a weight that is missing, too many or of another shape; the first is named.
    """
    wanted, head = shapes(architecture), heads(architecture) if new_head else set()
    chosen = {}
    for name, shape in wanted.items():
        if name in head or (name not in weights and name.startswith("auxiliary.")):
            continue
        given = tuple(weights[name].shape) if name in weights else "nothing"
        if given != shape:
            raise UsageError(f"--init {where}: {name} is to have the shape {shape}, but there is {given}")
        chosen[name] = weights[name]
    for name in weights:
        if name not in wanted and not name.startswith("auxiliary."):
            raise UsageError(f"--init {where}: the network has no place for {name} {tuple(weights[name].shape)}")
    return chosen


def shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's tensors."""
    return {name: tuple(tensor.shape) for name, tensor in architecture.build_meta().state_dict().items()}


def heads(architecture: Architecture) -> set[str]:
    """The tensors of a network that depend on the number of classes."""
    other = shapes(architecture.fitted(architecture.input, architecture.classes + 1))
    return {name for name, shape in shapes(architecture).items() if other[name] != shape}


def freeze(network: nn.Module, count: int) -> list[nn.Module]:
    """Stops the first so many stages from learning and returns them.

    Raises:
        UsageError: nothing would be left to learn.
    """
    every = stages(network)
    frozen = every[:count]
    for stage in frozen:
        stage.requires_grad_(False)
    if count > len(every) or not any(parameter.requires_grad for parameter in network.parameters()):
        raise UsageError(f"--freeze {count}: this network has {len(every)} cells or stages, and something must learn")
    return frozen


def train_mode(network: nn.Module, frozen: list[nn.Module]) -> None:
    """Training mode, but for the frozen stages, whose batch norms use and keep their statistics."""
    network.train()
    for stage in frozen:
        stage.eval()
