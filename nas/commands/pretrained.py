"""Trained weights that a training starts from: a run's, torchvision's, or those of a file with torchvision's names."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.architecture import Architecture, of_network, read_architecture
from nas.commands.targets import allow_ops
from nas.errors import UsageError, nearest
from nas.macro.torchvision_weights import MODELS, tensor_names
from nas.run import names
from nas.run.folder import Run, find, runs_root
from nas.run.spec import OpsFile, TrainSpec, absolute
from nas.train.weights import read_weights, weights_of

TORCHVISION = "torchvision:"


@dataclass(frozen=True)
class Pretrained:
    """Trained weights.

    Args:
        where: as ``--init`` names them.
        architecture: the network that they are of.
        data: the data that its classifier is for; empty: whatever has as many classes.
        ops: the file of the user's own operations, if it has any.
    """

    where: str
    weights: Mapping[str, Tensor]
    architecture: Architecture
    data: str = ""
    ops: OpsFile | None = None

    def new_head(self, classes: int, data: str) -> bool:
        """Whether its classifier is no start for these classes of this data."""
        return classes != self.architecture.classes or bool(self.data and absolute(self.data) != absolute(data))


def pretrained(name: str, runs: Path | None = None, ops: Path | None = None) -> Pretrained:
    """The weights of ``torchvision:mobilenet_v2``, of a file, or of a run, which may have the user's own operations.

    Raises:
        UsageError: there are none, they cannot be downloaded or read, or they are of no known network.
    """
    if name.startswith(TORCHVISION):
        return of_torchvision(name.removeprefix(TORCHVISION))
    path = Path(name)
    if path.is_file() and not (path.name == names.WEIGHTS and (path.parent / names.SETTINGS).is_file()):
        return of_file(path)
    return of_run(Run(path.parent) if path.is_file() else find(name, runs_root(runs)), ops)


def of_run(run: Run, ops: Path | None = None) -> Pretrained:
    """The weights of a finished training; errors as of :func:`pretrained`."""
    file = allow_ops(run.path, ops)
    weights, network = weights_of(run.path), read_architecture(run.path / names.ARCHITECTURE)
    return Pretrained(str(run.path), weights, network, run.spec(TrainSpec).settings.data, file)


def of_torchvision(model: str) -> Pretrained:
    """torchvision's best weights of a model, downloaded by it at first use."""
    from torchvision.models import get_model_weights

    where = f"{TORCHVISION}{model}"
    if model not in MODELS:
        raise UsageError(f'--init "{where}": {nearest(model, list(MODELS))}')
    try:
        state = get_model_weights(model).DEFAULT.get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise UsageError(f"--init {where} cannot be downloaded: {error}; a file of them will do: --init FILE") from None
    return renamed(where, model, state)


def of_file(path: Path) -> Pretrained:
    """The weights of a file in which tensors have torchvision's names: safetensors, or torch's format."""
    state: Any = {}
    if path.suffix == ".safetensors":
        state = read_weights(path)
    else:
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception:  # torch.load raises errors of any kind at other files
            raise UsageError(f"--init {path} is no file of weights: safetensors, or torch's format") from None
    model = next((each for each in MODELS if set(tensor_names(each)) == set(state)), None)
    if model is None:
        raise UsageError(f"--init {path}: its tensors have the names of none of torchvision's {', '.join(MODELS)}")
    return renamed(str(path), model, state)


def renamed(where: str, model: str, state: Mapping[str, Tensor]) -> Pretrained:
    """A torchvision model's tensors under our names."""
    ours, (network, settings) = tensor_names(model), MODELS[model]
    classes = len(state[list(ours)[-1]])
    architecture = of_network(network, settings, input=(3, 224, 224), classes=classes)
    return Pretrained(where, {name: state[theirs] for theirs, name in ours.items()}, architecture)
