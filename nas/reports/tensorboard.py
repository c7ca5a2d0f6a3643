"""TensorBoard logs of a run: a view of its log.jsonl, made anew when a run goes on, so that no point is there twice."""

import contextlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from nas.cells.draw import draw
from nas.cells.genotype import from_document
from nas.extras import need
from nas.run.folder import AnyEpoch, Run
from nas.run.log import Epoch, SearchEpoch
from nas.run.names import TENSORBOARD

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


def check() -> None:
    """Raises UsageError where the package is missing."""
    need("--tensorboard", "tensorboard", "tensorboard")


@contextlib.contextmanager
def watching(
    run: Run, wanted: bool, kind: type[AnyEpoch], rate: Callable[[int], float], operations: Sequence[str] = ()
) -> Iterator[Callable[[AnyEpoch], None] | None]:
    """What writes each epoch to RUN/tensorboard, if that is wanted.

    Losses, accuracies and the learning rate; of a search also entropy, skip share, the alphas' softmax as histograms
    and heat maps, and the cells' picture. An epoch that does not follow the last one, as after a resumption or where
    a search has gone back, has all written anew.

    Args:
        kind: of the log's entries.
        rate: the learning rate at the start of an epoch.
        operations: names of the alphas' columns.
    """
    if not wanted:
        yield None
        return
    check()
    from torch.utils.tensorboard import SummaryWriter

    with contextlib.ExitStack() as opened:
        writer: SummaryWriter | None = None
        last = -1

        def write(entries: Sequence[AnyEpoch]) -> None:
            nonlocal writer, last
            if writer is None or entries[0].epoch != last + 1:
                opened.close()
                shutil.rmtree(run.path / TENSORBOARD, ignore_errors=True)
                writer = opened.enter_context(SummaryWriter(run.path / TENSORBOARD, purge_step=0))
                entries = run.log(kind)
            for each in entries:
                write_epoch(writer, each, rate(each.epoch), operations)
                last = each.epoch
            writer.flush()

        yield lambda entry: write([entry])
        if writer and (log := run.log(kind)) and log[-1].epoch != last:  # a search has gone back, and stopped
            write(log)


def write_epoch(writer: "SummaryWriter", entry: Epoch, rate: float, operations: Sequence[str]) -> None:
    """Writes one line of log.jsonl."""
    epoch = entry.epoch
    writer.add_scalar("learning_rate", rate, epoch)
    for name, value in vars(entry).items():
        if name != "epoch" and isinstance(value, int | float):
            writer.add_scalar(name.replace("train_", "train/").replace("valid_", "valid/"), value, epoch)
    if not isinstance(entry, SearchEpoch):
        return
    for kind, alphas in entry.alphas.items():
        weights = torch.tensor(alphas).softmax(-1)
        if weights.isfinite().all():
            writer.add_histogram(f"alphas, softmax/{kind}", weights, epoch)
        writer.add_figure(f"alphas, softmax/{kind}", heat_map(weights, operations), epoch)
    picture = io.BytesIO()
    draw(from_document(entry.genotype), picture, "png")
    writer.add_image("cells", pixels(picture), epoch, dataformats="HWC")


def heat_map(weights: Tensor, operations: Sequence[str]) -> "Figure":
    """Weights (edges, operations) as a picture, dark where an operation is strong."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 5), layout="constrained")
    axes = figure.add_subplot(ylabel="edge")
    axes.set_xticks(range(len(operations)), operations, rotation=45, ha="right")
    figure.colorbar(axes.imshow(weights.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto"))
    return figure


def pixels(picture: io.BytesIO) -> Any:
    """A PNG file as an array (H, W, 4) from 0 to 1."""
    from matplotlib.image import imread

    picture.seek(0)
    return np.asarray(imread(picture))
