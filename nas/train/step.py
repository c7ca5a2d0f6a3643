"""A training's step: on a GPU recorded once and replayed, elsewhere computed as it is written."""

from collections.abc import Callable
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from nas.blocks.drop_path import draw_paths, set_paths
from nas.data.batches import Places, Stream
from nas.engine.overlay import overlay
from nas.execution import mixed
from nas.rng import generator
from nas.settings import TrainSettings
from nas.train.data_parallel import data_parallel
from nas.train.evaluate import correct
from nas.train.multi_tensor import MultiTensor
from nas.train.process_group import ProcessGroup
from nas.train.recipe import fit_to_device, follow, place_gradients, share
from nas.train.recorded import CudaGraph, Graph, Recorded
from nas.train.schedule import assigned, learning_rate, set_rate

Batch = tuple[Tensor, Tensor]


class TrainStep:
    """Augmentation, gradients, update and moving average of one batch after the other.

    Args:
        network: in training mode, restored, on the device.
        optimizer: of its parameters, restored; it is fitted to the device.
        average: that follows the network; None: none does.
        stream: gives the batches.
        group: the workers that share them.
        backend: what computes it on a CPU, see :func:`nas.engine.overlay.overlay`.
    """

    graph: Callable[[], Graph] = CudaGraph

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: AveragedModel | None,
        stream: Stream,
        settings: TrainSettings,
        device: str,
        group: ProcessGroup,
        backend: str = "auto",
    ) -> None:
        self.network, self.optimizer, self.average = network, optimizer, average
        self.stream, self.settings, self.device, self.group = stream, settings, device, group
        self.backend = backend
        on_gpu = fit_to_device(optimizer)
        self.share: float | Tensor = torch.zeros((), device=device) if on_gpu else 0.0
        self.recordable = on_gpu and not unrecordable(network, group)
        self.recorded: Recorded | None = None

    def __call__(self, epoch: int, number: int) -> Batch:
        """(Loss of a step's batch, how many of it were right), as scalars."""
        set_rate(self.optimizer, learning_rate(self.settings, epoch, number % self.stream.steps / self.stream.steps))
        self.share = assigned(self.share, share(self.settings.ema, number))
        if self.recordable and self.recorded is None:
            self.recorded = Recorded(self.compute, self.inputs(epoch, number), self.changed, self.graph())
        inputs = self.inputs(epoch, number)  # after a recording, which draws: it sets dropout layers' seed
        result = (self.recorded or self.compute)(*inputs)
        if self.average:
            self.average.n_averaged += 1  # the host's, which a recording does not see
            if number == 0:  # it begins as the network is now, counters included
                self.average.module.load_state_dict(self.network.state_dict())
        return result

    @cached_property
    def forward(self) -> nn.Module:
        """What is trained: the network as a recording, the workers or kernels compute it; the first two change it."""
        if self.recordable:
            return MultiTensor(self.network, self.settings.precision)
        if self.device == "cpu":
            place_gradients(self.network)
        return overlay(data_parallel(self.network, self.group), self.backend)

    def inputs(self, epoch: int, number: int) -> list[Tensor]:
        """What a step computes with: uint8 images, labels, the numbers of their augmentation, paths to drop if any."""
        indices, numbers = self.stream.drawn(number)
        chosen = self.stream.split.take(indices)
        masks = draw_masks(self.network, self.settings, epoch, number, self.group.places)
        images, labels = (each.to(self.device, non_blocking=True) for each in (chosen.images, chosen.labels))
        return [images, labels, numbers, *([] if masks is None else [masks])]

    def compute(self, images: Tensor, labels: Tensor, numbers: Tensor, masks: Tensor | None = None) -> Batch:
        """The whole step: nothing is drawn by the host, nothing waits for the device."""
        batch = self.stream.augmentation.apply(images, numbers), labels
        loss, logits = train_step(self.forward, self.optimizer, batch, self.settings, self.device, masks, self.group)
        if self.average:
            follow(self.average, self.network, self.share)
        return loss, correct(logits, labels)

    def changed(self) -> dict[str, Tensor]:
        """All that :meth:`compute` changes, by name; an optimiser without a history has nothing yet."""
        parts = {"network": self.network, **({"average": self.average} if self.average else {})}
        tensors = {f"{part} {name}": value for part in parts for name, value in parts[part].state_dict().items()}
        for index, parameter in enumerate(self.network.parameters()):
            history = self.optimizer.state.get(parameter, {})
            tensors |= {f"{name} {index}": value for name, value in history.items() if isinstance(value, Tensor)}
        return tensors


def unrecordable(network: nn.Module, group: ProcessGroup) -> str:
    """Why a GPU cannot record steps of a network; empty: it can."""
    if group.world_size > 1:
        return "several workers share them"
    waiting = [type(module).__name__ for module in network.modules() if not getattr(module, "recordable", True)]
    return f"{waiting[0]} waits for the device" if waiting else ""


def train_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    settings: TrainSettings,
    device: str,
    masks: Tensor | None = None,
    group: ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """The batch's mean loss (of several workers: this one's share) without the auxiliary head's, and its logits.

    In ``settings.accumulate`` parts the gradient is that of the whole batch, but that each part has its own batch
    statistics and its own draws of dropout layers.

    Args:
        batch: images (N, C, H, W) and labels (N,), of several workers this one's share.
        masks: (paths, N) of the paths to drop; None: none.
        group: the workers, of whose gradients the network takes the mean; None: this one alone.
    """
    images, labels = batch
    group = group or ProcessGroup(len(labels), settings.accumulate)
    losses, logits = [], []
    optimizer.zero_grad()
    for part in group.slices():
        if masks is not None:
            set_paths(network, masks[:, part])
        share = (part.stop - part.start) / group.batch
        with group.gradient_sync(network):
            with mixed(settings.precision, device):
                out = network(images[part])
            out, auxiliary = out if isinstance(out, tuple) else (out, None)
            loss = total = cross_entropy(out, labels[part], settings.label_smoothing)
            if auxiliary is not None:
                total = loss + settings.auxiliary * cross_entropy(auxiliary, labels[part], settings.label_smoothing)
            (total * (share * group.world_size)).backward()
        losses.append(loss.detach() * share)
        logits.append(out.detach())
    if settings.clip:
        nn.utils.clip_grad_norm_(network.parameters(), settings.clip, foreach=True)
    optimizer.step()
    return torch.stack(losses).sum(), torch.cat(logits)


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Mean cross-entropy, in at least single precision."""
    precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return F.cross_entropy(precise, labels, label_smoothing=smoothing)


def draw_masks(
    network: nn.Module, settings: TrainSettings, epoch: int, step: int, places: Places = slice(None)
) -> Tensor | None:
    """The paths that a step drops at places of its batch, more often each epoch; sets dropout layers' seed too."""
    torch.manual_seed(generator(settings.seed, "extra", step).initial_seed())
    if not settings.drop_path:
        return None
    probability = settings.drop_path * epoch / settings.epochs
    masks = draw_paths(network, probability, settings.batch, generator(settings.seed, "paths", step))[:, places]
    device = next(network.parameters()).device
    if device.type != "cuda":
        return masks
    narrow = masks.bfloat16() if settings.precision == "bf16" else masks  # else they would widen all maps
    return narrow.pin_memory().to(device, non_blocking=True)
