"""Feature maps: their levels, dilation, and torchvision's heads on them."""

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.models.segmentation.deeplabv3 import DeepLabHead, DeepLabV3

from nas.architecture import Architecture, from_json
from nas.backbone import Backbone, backbone
from nas.errors import UsageError
from nas.macro import networks
from nas.macro.families import FAMILIES
from tests.exporting.test_fold import disturbed
from tests.exporting.trained import cell


def macro(network: str, stem: str = "imagenet", **settings: object) -> Architecture:
    knobs = {"width": 0.25, **settings}
    return from_json(networks.document(network, knobs, input=(3, 64, 64), classes=10, stem=stem))


def of(architecture: Architecture, levels: object = None, output_stride: int | None = None) -> Backbone:
    torch.manual_seed(0)
    return backbone(architecture, disturbed(architecture.build()), levels, output_stride)  # type: ignore[arg-type]


def images(side: int = 64) -> Tensor:
    return torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0)).double()


@pytest.mark.parametrize("network", FAMILIES)
@pytest.mark.parametrize("side", [64, 75])
def test_channels_and_strides_are_true(network: str, side: int) -> None:
    architecture = macro(network)
    every = of(architecture)
    assert list(every.levels) == ["C1", "C2", "C3", "C4", "C5"] and every.strides == [2, 4, 8, 16, 32]
    for level, made in zip(every.levels.values(), every(images(side)).values(), strict=True):
        assert made.shape == (2, level.channels, -(-side // level.stride), -(-side // level.stride))


def test_small_images_and_cells() -> None:
    assert of(macro("mobilenet_v2", "cifar")).strides == [1, 2, 4, 8]
    for stem, strides in (("cifar", [1, 2, 4]), ("imagenet", [8, 16, 32])):
        document = {**cell().document(), "stem": stem}
        every = of(from_json(document))
        assert every.strides == strides
        for level, made in zip(every.levels.values(), every(images()).values(), strict=True):
            assert made.shape == (2, level.channels, 64 // level.stride, 64 // level.stride)
    with pytest.raises(UsageError, match="reductions of cells"):
        of(from_json(document), output_stride=16)


def test_the_last_level_is_what_the_classifier_reads() -> None:
    for architecture in (macro("mobilenet_v2"), cell()):
        network = disturbed(architecture.build())
        last = list(backbone(architecture, network)(images()).values())[-1]
        head: nn.Module = network.classifier if architecture.kind == "cell" else network.stages[-1][-1]  # type: ignore
        torch.testing.assert_close(head(last.mean((2, 3))), network(images()))


def test_the_expansion_of_c4() -> None:
    """As in torchvision: the 1×1 convolution of the first block of the last stride."""
    architecture = macro("mobilenet_v2")
    made = of(architecture, ["C4.expansion", "C4", "C5"])
    maps = made(images())
    assert list(maps) == ["C4", "C4.expansion", "C5"] and made.strides == [16, 16, 32]
    row = next(row for row in architecture.body["rows"] if row["stage"] == 6)
    assert (
        made.levels["C4.expansion"].channels
        == maps["C4.expansion"].shape[1]
        == row["hidden"]
        == 6 * maps["C4"].shape[1]
    )
    torch.testing.assert_close(maps["C5"], of(architecture)(images())["C5"])
    with pytest.raises(UsageError, match=r"C4\.expansion"):
        of(macro("mobilenext"), ["C4.expansion"])


@pytest.mark.parametrize("output_stride", [8, 16])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v2", "mobilenext", "b0", "mobilenet_v3", "asymmnet"])
def test_dilated_maps_contain_the_strided_ones(name: str, output_stride: int) -> None:
    """Every stride-th pixel of a dilated map is a pixel of the strided one, exactly (no squeezing: it averages)."""
    own = {"b0": {"size": "b0", "se": False}, "mobilenet_v3": {"se": False}, "asymmnet": {"se": False}}.get(name, {})
    architecture = macro("mobilenext" if name == "b0" else name, **own)
    plain, dense = of(architecture), of(architecture, output_stride=output_stride)
    assert dense.strides == [min(stride, output_stride) for stride in plain.strides]
    assert dense.channels == plain.channels
    for (key, strided), dilated in zip(plain(images()).items(), dense(images()).values(), strict=True):
        step = dilated.shape[-1] // strided.shape[-1]
        torch.testing.assert_close(dilated[..., ::step, ::step], strided, msg=key)


def test_what_cannot_be_dilated() -> None:
    assert of(macro("hbonet"), output_stride=16).strides[-1] == 16
    with pytest.raises(UsageError, match="harmonious"):
        of(macro("hbonet"), output_stride=8)
    with pytest.raises(UsageError, match="12"):
        of(macro("mobilenet_v2"), output_stride=12)


def test_ssdlite_learns_on_it() -> None:
    """torchvision's SSDLite head on C4's expansion and C5: two steps on one image, the loss falls, gradients arrive."""
    torch.manual_seed(0)
    architecture = macro("mobilenet_v2")
    body = backbone(architecture, architecture.build(), ["C4.expansion", "C5"])
    anchors = DefaultBoxGenerator([[2, 3], [2, 3]], min_ratio=0.2, max_ratio=0.95)
    head = SSDLiteHead(body.channels, anchors.num_anchors_per_location(), 3, nn.BatchNorm2d)
    detector = SSD(body, anchors, (64, 64), 3, head=head, image_mean=[0.5] * 3, image_std=[0.5] * 3).train()
    optimizer = torch.optim.SGD(detector.parameters(), lr=0.01)
    pictures = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    boxes = [{"boxes": torch.tensor([[8.0, 8.0, 40.0, 40.0]]), "labels": torch.tensor([label])} for label in (1, 2)]
    losses = []
    for _ in range(2):
        loss = sum(detector(pictures, boxes).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(parameter.grad is not None for parameter in body.parameters())


def test_deeplabv3_runs_on_it() -> None:
    architecture = macro("mobilenext")
    body = backbone(architecture, architecture.build(), {"C5": "out"}, output_stride=8)
    segmenter = DeepLabV3(body, DeepLabHead(body.channels[-1], 5)).eval()
    with torch.no_grad():
        assert segmenter(torch.rand(1, 3, 64, 64))["out"].shape == (1, 5, 64, 64)
