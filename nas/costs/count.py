"""What a network costs: one forward on the meta device, operation by operation, without touching a weight."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import groupby
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from nas.blocks.inverted_residual import InvertedResidual
from nas.errors import UsageError

aten = torch.ops.aten
BYTES = 2
"""A value's size: 16 bits."""

COUNTED = (aten.convolution, aten.addmm, aten.mm)
"""Convolutions and linear layers: the operations whose multiply-adds count."""
ADDITIONS = (aten.add, aten.add_)
NORMS = (aten.native_batch_norm, aten._native_batch_norm_legit_no_training)
ACTIVATIONS = (aten.relu, aten.hardtanh, aten.hardswish, aten.silu, aten.sigmoid, aten.hardsigmoid)
FREE = (
    *NORMS,
    *ACTIVATIONS,
    aten.relu_,
    aten.hardtanh_,
    aten.hardswish_,
    aten.silu_,
    aten.hardsigmoid_,
    aten.constant_pad_nd,
    aten.detach,
    aten.empty,
)
"""What inference folds into the operation before or after it, and what moves no data."""


@dataclass
class Stage:
    """A part of a network and its share of the costs; ``output`` is (C, H, W) or (C,)."""

    name: str
    kind: str
    params: int
    output: tuple[int, ...] = ()
    madds: int = 0
    activations: int = 0
    adds: int = 0
    bytes_moved: int = 0


@dataclass
class Cost:
    """What one image costs in inference.

    Args:
        params: learnable numbers: convolutions, linear layers, batch norm scale and shift.
        madds: multiply-adds of convolutions and linear layers; FLOPs are twice that.
        activations: values that all convolutions put out (Radosavovic et al., RegNet, CVPR 2020).
        adds: additions of two maps, value by value: what shortcuts cost.
        bytes_moved: read and written by all operations in 16 bits, weights included; batch norms and activations are
            part of the operation before them.
        depthwise, pointwise: multiply-adds of depthwise and of 1×1 convolutions; the rest is "other" (AsymmNet,
            Table 1).
        peak_memory_bytes: largest input + output of one operation, 16 bits.
        peak_memory_split_bytes: the same where inverted residuals run in t parts, so that only their ends and a t-th of
            their inside exist at once (MobileNetV2, §5.1).
        materialised: per resolution "HxW" the largest activation in bytes.
        materialised_split: the same of what exists whole when inverted residuals run in parts (MobileNetV2, Table 3).
        stages: the parts in order.
    """

    params: int
    madds: int = 0
    activations: int = 0
    adds: int = 0
    bytes_moved: int = 0
    depthwise: int = 0
    pointwise: int = 0
    peak_memory_bytes: int = 0
    peak_memory_split_bytes: int = 0
    materialised: dict[str, int] = field(default_factory=dict)
    materialised_split: dict[str, int] = field(default_factory=dict)
    stages: list[Stage] = field(default_factory=list)

    @property
    def flops(self) -> int:
        """Floating-point operations: two a multiply-add."""
        return 2 * self.madds

    @property
    def share(self) -> dict[str, float]:
        """Shares of the multiply-adds: depthwise, pointwise, other; they sum to 1."""
        total = max(1, self.madds)
        depthwise, pointwise = self.depthwise / total, self.pointwise / total
        return {"depthwise": depthwise, "pointwise": pointwise, "other": 1 - depthwise - pointwise}

    def document(self) -> dict[str, Any]:
        """The cost as JSON data."""
        values = asdict(self)
        for name in ("depthwise", "pointwise"):
            values.pop(name)
        return {**values, "flops": self.flops, "share": self.share}


def count(module: nn.Module, input_shape: tuple[int, int, int]) -> Cost:
    """The cost of one image of (channels, height, width) through ``module`` in eval mode.

    The module may be on any device, the meta device included, and is left as it was. Parameters are all of the
    module's, those that inference does not use (an auxiliary head's) too.

    Raises:
        UsageError: the module cannot take an image of that shape.
    """
    recorder = Recorder(Cost(sum(p.numel() for p in module.parameters())))
    tensors = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    weights = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors.items()}
    image = torch.empty(1, *input_shape, device="meta")
    with evaluating(module), watched(module, recorder), torch.no_grad(), recorder:
        try:
            functional_call(module, weights, (image,))
        except (RuntimeError, ValueError) as error:
            size = "×".join(map(str, input_shape))
            raise UsageError(f"an image of {size} does not fit: {str(error).splitlines()[0]}") from None
    return recorder.cost


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode, and back to what every part was in before."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


class Recorder(TorchDispatchMode):
    """Adds up the costs of all operations that run inside it."""

    def __init__(self, cost: Cost) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.cost = cost
        self.stage = Stage("", "", 0)
        self.split = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        packet = func.overloadpacket
        if packet in ACTIVATIONS:  # shapes alone matter: computing them in full is half of the time
            return torch.empty_like(args[0])
        if packet in NORMS:
            return torch.empty_like(args[0]), args[0].new_empty(0), args[0].new_empty(0)
        out = func(*args, **(kwargs or {}))
        if not func.is_view and packet not in FREE:
            self.record(packet, args, kwargs or {}, out)
        return out

    def record(self, packet: Any, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> None:
        """One operation that reads its tensors and writes its output."""
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        written = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)][:1]
        if not read or not written:
            return
        size = written[0].numel()
        if packet in COUNTED:
            self.count_madds(packet, args, flop_registry[packet](*args, **kwargs, out_val=out) // 2)
        self.add("activations", size if packet is aten.convolution else 0)
        self.add("adds", size if packet in ADDITIONS and len(read) == 2 else 0)
        self.add("bytes_moved", BYTES * (sum(tensor.numel() for tensor in read) + size))
        maps = [tensor for tensor in (*read, *written) if tensor.shape[:1] == (1,)]
        self.hold(BYTES * sum(tensor.numel() for tensor in maps))
        if written[0].dim() == 4:
            self.materialise(written[0])

    def add(self, name: str, amount: int) -> None:
        """Adds to a total and to the same of the running stage."""
        setattr(self.cost, name, getattr(self.cost, name) + amount)
        setattr(self.stage, name, getattr(self.stage, name) + amount)

    def count_madds(self, packet: Any, args: tuple[Any, ...], madds: int) -> None:
        """Adds multiply-adds, under their kind."""
        self.add("madds", madds)
        if packet is not aten.convolution:
            return
        weight, groups = args[1], args[8]
        if groups > 1 and weight.shape[1] == 1:
            self.cost.depthwise += madds
        elif weight.shape[2:] == (1, 1):
            self.cost.pointwise += madds

    def hold(self, size: int) -> None:
        """Memory that is held at once."""
        self.cost.peak_memory_bytes = max(self.cost.peak_memory_bytes, size)
        if not self.split:
            self.cost.peak_memory_split_bytes = max(self.cost.peak_memory_split_bytes, size)

    def materialise(self, x: Tensor) -> None:
        """A map that is written as a whole."""
        resolution, size = f"{x.shape[2]}x{x.shape[3]}", BYTES * x.numel()
        for largest in (self.cost.materialised, *([] if self.split else [self.cost.materialised_split])):
            largest[resolution] = max(largest.get(resolution, 0), size)

    def enter(self, stage: Stage, *_: Any) -> None:
        """A stage begins."""
        self.stage = stage

    def leave(self, stage: Stage, _module: nn.Module, _inputs: Any, out: Any) -> None:
        """A stage ends."""
        tensors = [leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        stage.output = tuple(tensors[0].shape[1:]) if tensors else ()
        self.stage = Stage("", "", 0)

    def enter_split(self, *_: Any) -> None:
        """A block that can run in parts begins."""
        self.split += 1

    def leave_split(self, block: nn.Module, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        """A block that can run in parts ends: its ends and one part of its inside were there at once."""
        self.split -= 1
        self.materialise(out)
        x = inputs[0]
        hidden = block.depthwise[0].in_channels  # type: ignore[index,union-attr]
        inside = hidden * (x[0, 0].numel() + out[0, 0].numel())
        self.hold(BYTES * (x.numel() + out.numel() + ceil(inside * x.shape[1] / max(hidden, x.shape[1]))))


@contextmanager
def watched(module: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Tells the recorder when stages, and blocks that can run in parts, begin and end."""
    hooks = []
    for name, part in stages(module):
        stage = Stage(name, kind(part), sum(p.numel() for p in part.parameters()))
        recorder.cost.stages.append(stage)
        hooks.append(part.register_forward_pre_hook(partial(recorder.enter, stage)))
        hooks.append(part.register_forward_hook(partial(recorder.leave, stage)))
    for part in module.modules():
        if isinstance(part, InvertedResidual):
            hooks.append(part.register_forward_pre_hook(recorder.enter_split))
            hooks.append(part.register_forward_hook(recorder.leave_split))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def stages(module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """A module's parts: its children, and the members of those that are lists."""
    for name, child in module.named_children():
        if isinstance(child, nn.ModuleList) or name == "stages":
            yield from ((f"{name}.{member}", part) for member, part in child.named_children())
        else:
            yield name, child


def kind(part: nn.Module) -> str:
    """What a stage is made of: "3 × Sandglass", "Conv2d, AdaptiveAvgPool2d, Linear"."""
    names = [_kind(block) for block in (part if isinstance(part, nn.Sequential) else [part])]
    return ", ".join(f"{len(list(run))} × {name}".removeprefix("1 × ") for name, run in groupby(names))


def _kind(block: nn.Module) -> str:
    """A block's name; a chain is known by its first layer with weights."""
    if not isinstance(block, nn.Sequential):
        return type(block).__name__
    weighty = [layer for layer in block if next(layer.parameters(), None) is not None]
    return _kind((weighty or list(block))[0])
