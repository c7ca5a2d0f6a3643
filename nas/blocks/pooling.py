"""Average pooling with right gradients on any device and torch."""

import torch
from packaging.version import Version
from torch import Tensor, nn

RIGHT_GRADIENTS = Version(torch.__version__) >= Version("2.14")


class AvgPool2d(nn.AvgPool2d):
    """torch's, with right gradients on a GPU too.

    There torch before 2.14 has silently wrong ones of maps in channels-last memory with a border (its issue 188344).
    """

    def forward(self, x: Tensor) -> Tensor:
        if RIGHT_GRADIENTS or not x.is_cuda or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)
