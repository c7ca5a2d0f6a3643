"""A network in another runtime's form: its files in memory, what that runtime computes, and the check of it."""

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nas.errors import UsageError

TOLERANCE = 1e-4
"""Largest difference allowed, as a share of the largest logit."""

Shape = tuple[int, int, int]
Predict = Callable[[Tensor], Tensor]
"""Images (N, C, H, W), normalised → logits (N, classes)."""


@dataclass(frozen=True)
class Model:
    """A network in another runtime's form.

    Args:
        files: by name; the name of one in a folder has slashes.
        predict: what the runtime computes; None: it does not run here.
    """

    files: Mapping[str, bytes]
    predict: Predict | None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(map(len, self.files.values()))


Convert = Callable[[nn.Module, Shape, Mapping[str, Any]], Model]
"""A network in evaluation mode on the CPU, (C, H, W) of an image and what users must know → the model."""
Quantize = Callable[[nn.Module, Model, Sequence[Tensor]], Model]
"""A network, its float model and batches of normalised training images → the same in 8 bits."""


def one_by_one(predict: Predict) -> Predict:
    """Of a model that takes one image: the logits of a batch."""
    return lambda images: torch.cat([predict(image[None]) for image in images])


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the converters' talk, which is to their own developers."""
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


@dataclass(frozen=True)
class Agreement:
    """How close two networks' logits are on some images.

    Args:
        difference: largest |difference| of a logit.
        largest: largest |logit| of the first network.
        same: share of images with the same prediction.
        images: how many were compared.
    """

    difference: float
    largest: float
    same: float
    images: int


@torch.no_grad()
def compare(one: Predict, other: Predict, batches: Sequence[Tensor]) -> Agreement:
    """The logits of two networks on batches of normalised images, which may differ in size."""
    pairs = [(one(images), other(images)) for images in batches]
    first, second = (torch.cat(logits) for logits in zip(*pairs, strict=True))
    same = (first.argmax(1) == second.argmax(1)).double().mean()
    return Agreement(float((first - second).abs().max()), float(first.abs().max()), float(same), len(first))


def check(agreement: Agreement) -> None:
    """Raises UsageError where an exported model does not compute what the network does."""
    if not agreement.difference <= TOLERANCE * agreement.largest:
        raise UsageError(
            f"the exported model is wrong: its logits differ by up to {agreement.difference:.2g} of "
            f"{agreement.largest:.2g} on {agreement.images} images; nothing was written"
        )
