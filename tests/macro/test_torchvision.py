"""Our MobileNetV2 and V3 compute what torchvision's compute."""

import pytest
import torch
from torch import nn
from torchvision.models import get_model

from nas.macro.networks import build
from nas.macro.torchvision_weights import MODELS, tensor_names


def with_random_statistics(model):
    """Batch norms as after training: with fresh ones a wrong order would hardly show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("width", [1.0, 0.5])
def test_logits_equal_torchvision(name, width):
    torch.manual_seed(1)
    model = with_random_statistics(get_model(name, width_mult=width, num_classes=20)).eval()
    network, setting = MODELS[name]
    own = build(network, {**setting, "width": width}, classes=20).eval()
    state = model.state_dict()
    own.load_state_dict({ours: state[theirs] for theirs, ours in tensor_names(name).items()})
    images = torch.randn(2, 3, 96, 96)
    with torch.inference_mode():
        assert (own(images) - model(images)).abs().max() < 1e-5
