"""Evaluation: the run's precision, batches that suit the device."""

import pytest
import torch
from torch import Tensor, nn

from nas.data.batches import Augmentation
from nas.data.dataset import Split
from nas.train.evaluate import batch_on, evaluate
from tests.bilevel.steps import random_dataset


class Listener(nn.Module):
    """Remembers the type in which it computed, and how many images it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 10, 16)
        self.seen: list[tuple[torch.dtype, int]] = []

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x).flatten(1)
        self.seen.append((y.dtype, len(x)))
        return y


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_it_is_in_the_precision_of_the_run(precision: str, dtype: torch.dtype) -> None:
    dataset, network = random_dataset(), Listener().train()
    augmentation = Augmentation.of(dataset, cutout=False, device="cpu")
    loss, accuracy = evaluate(network, dataset.test, augmentation, precision, 20)
    assert network.seen == [(dtype, 20), (dtype, 20), (dtype, 8)] and network.training
    assert loss > 0 and 0 <= accuracy <= 1


@pytest.mark.parametrize(("device", "side", "batch"), [("cpu", 32, 256), ("cuda", 32, 1250), ("cuda", 224, 256)])
def test_batches_suit_the_device(device: str, side: int, batch: int) -> None:
    split = Split(torch.empty(4, 3, side, side, dtype=torch.uint8), torch.empty(4, dtype=torch.int64))
    assert batch_on(device, split) == batch
