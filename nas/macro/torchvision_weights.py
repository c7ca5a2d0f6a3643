"""torchvision's weights in our networks: MobileNetV2, and MobileNetV3 large and small.

The mapping: both networks hold the same layers in the same order (stem; per block expansion, depthwise, squeeze,
projection; head), so the n-th tensor of torchvision's state dict is the n-th of ours. Counts and shapes are checked.
"""

from collections.abc import Mapping

from torch import Tensor, nn


def load_torchvision(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Loads a torchvision state dict into our network of the same family, width, size and classes.

    Raises:
        ValueError: it is not a state dict of that network.
    """
    ours = network.state_dict()
    if len(ours) != len(state):
        raise ValueError(f"{len(state)} tensors, but this network has {len(ours)}: not the same network")
    for (name, own), (theirs, given) in zip(ours.items(), state.items(), strict=True):
        if own.shape != given.shape:
            raise ValueError(
                f"{theirs} is {tuple(given.shape)}, but {name} is {tuple(own.shape)}: not the same network"
            )
    network.load_state_dict(dict(zip(ours, state.values(), strict=True)))
