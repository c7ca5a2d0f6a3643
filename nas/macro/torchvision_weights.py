"""torchvision's weights in our networks: MobileNetV2, and MobileNetV3 large and small.

Both networks hold the same layers in the same order (stem; per block expansion, depthwise, squeeze, projection; head),
so the n-th tensor of torchvision's network is the n-th of ours, at any width.
"""

import torch

from nas.macro.networks import build

MODELS: dict[str, tuple[str, dict[str, str]]] = {
    "mobilenet_v2": ("mobilenet_v2", {}),
    "mobilenet_v3_large": ("mobilenet_v3", {"size": "large"}),
    "mobilenet_v3_small": ("mobilenet_v3", {"size": "small"}),
}
"""Our network and settings of each of torchvision's models."""


def tensor_names(model: str) -> dict[str, str]:
    """torchvision's name of each tensor of a model, and ours, in their order."""
    from torchvision.models import get_model

    network, settings = MODELS[model]
    with torch.device("meta"):
        theirs, ours = get_model(model).state_dict(), build(network, settings).state_dict()
    return dict(zip(theirs, ours, strict=True))
