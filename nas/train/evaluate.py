"""Loss and accuracy of a network on a split."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.batches import Augmentation, plain_batches
from nas.data.dataset import Split
from nas.execution import mixed


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of a batch are right: logits (N, classes), labels (N,) → a scalar tensor."""
    return (logits.argmax(1) == labels).sum()


PIXELS = 1250 * 32 * 32
"""Of a batch on a GPU: enough that its work takes longer than the launches of its kernels, of which the host then need
not be relieved by a recording."""


@torch.no_grad()
def evaluate(
    network: Callable[[Tensor], Tensor] | nn.Module,
    split: Split,
    augmentation: Augmentation,
    precision: str = "fp32",
    batch: int | None = None,
) -> tuple[float, float]:
    """(mean cross-entropy, accuracy as a fraction) over a split, in evaluation mode.

    Args:
        precision: that the network was trained in.
        batch: images at a time; None: as suits the device.
    """
    batch = batch or batch_on(augmentation.device, split)
    training = getattr(network, "training", False)
    if isinstance(network, nn.Module):
        network.eval()
    loss, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    for images, labels in plain_batches(split, augmentation, batch):
        with mixed(precision, augmentation.device):
            logits = network(images).float()
        loss = loss.to(logits.device) + F.cross_entropy(logits, labels, reduction="sum").double()
        right = right.to(logits.device) + correct(logits, labels)
    if isinstance(network, nn.Module):
        network.train(training)
    return float(loss) / len(split), int(right) / len(split)


def batch_on(device: str, split: Split) -> int:
    """Images at a time where no statistics depend on it."""
    height, width = split.images.shape[-2:]
    return 256 if device == "cpu" else max(256, PIXELS // (height * width))
