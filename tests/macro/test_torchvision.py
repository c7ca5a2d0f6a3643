"""Our MobileNetV2 and V3 compute what torchvision's compute."""

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2, mobilenet_v3_large, mobilenet_v3_small

from nas.macro.networks import build
from nas.macro.torchvision_weights import load_torchvision

MODELS = [
    (mobilenet_v2, "mobilenet_v2", {}),
    (mobilenet_v3_large, "mobilenet_v3", {"size": "large"}),
    (mobilenet_v3_small, "mobilenet_v3", {"size": "small"}),
]


def with_random_statistics(model):
    """Batch norms as after training: with fresh ones a wrong order would hardly show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@pytest.mark.parametrize(("theirs", "network", "setting"), MODELS, ids=["v2", "v3-large", "v3-small"])
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_logits_equal_torchvision(theirs, network, setting, width):
    torch.manual_seed(1)
    model = with_random_statistics(theirs(width_mult=width, num_classes=20)).eval()
    own = build(network, {**setting, "width": width}, classes=20).eval()
    load_torchvision(own, model.state_dict())
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert (own(images) - model(images)).abs().max() < 1e-5


def test_another_network_is_refused():
    own = build("mobilenet_v2", {"width": 0.5}, classes=20)
    with pytest.raises(ValueError, match="not the same network"):
        load_torchvision(own, mobilenet_v2(num_classes=20).state_dict())
    with pytest.raises(ValueError, match="not the same network"):
        load_torchvision(own, mobilenet_v3_small(num_classes=20).state_dict())
