"""Loss and accuracy of a network on a split."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.data.batches import Augmentation, plain_batches
from nas.data.dataset import Split


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """How many of a batch are right: logits (N, classes), labels (N,) → a scalar tensor."""
    return (logits.argmax(1) == labels).sum()


@torch.no_grad()
def evaluate(
    network: Callable[[Tensor], Tensor] | nn.Module, split: Split, augmentation: Augmentation, batch: int = 256
) -> tuple[float, float]:
    """(mean cross-entropy, accuracy as a fraction) over a split, in evaluation mode."""
    training = getattr(network, "training", False)
    if isinstance(network, nn.Module):
        network.eval()
    loss, right = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.int64)
    for images, labels in plain_batches(split, augmentation, batch):
        logits = network(images).float()
        loss = loss.to(logits.device) + F.cross_entropy(logits, labels, reduction="sum").double()
        right = right.to(logits.device) + correct(logits, labels)
    if isinstance(network, nn.Module):
        network.train(training)
    return float(loss) / len(split), int(right) / len(split)
