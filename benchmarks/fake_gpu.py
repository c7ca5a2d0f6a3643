"""A GPU that computes nothing: whole steps on fake CUDA tensors, on a machine without one.

Tensors have shape, type, device and memory layout, but no values, and operations take no time. Where there is no driver
torch's own engine cannot run their backward pass, as it asks the driver for streams: :func:`run_backward` walks the
graph instead. Operations without a fake result in torch are given one here.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.optim import optimizer
from torch.utils import _foreach_utils
from torch.utils._python_dispatch import TorchDispatchMode

ATEN = torch.ops.aten


class FakeResults(TorchDispatchMode):
    """Gives the results of operations that torch has no fake ones of."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is ATEN.batch_norm_update_stats.default:
            wide = torch.promote_types(args[0].dtype, torch.float32)
            return tuple(args[0].new_empty(args[0].shape[1], dtype=wide) for _ in range(2))
        if function in (ATEN._fused_sgd_.tensor_lr, ATEN._fused_adam_.tensor_lr):
            return None  # in place
        return function(*args, **(kwargs or {}))


@contextmanager
def fake_gpu() -> Iterator[FakeTensorMode]:
    """A context in which device "cuda" is a fake one; modules come to it by :func:`move`."""
    types = [torch.Tensor, nn.Parameter, FakeTensor]
    fake = FakeTensorMode()
    with ExitStack() as stack:
        for target, value in (
            ("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
            ("torch.cuda.is_bf16_supported", lambda: True),
            ("torch.autograd._engine_run_backward", run_backward),
        ):
            stack.enter_context(mock.patch(target, value))
        for module in (optimizer, _foreach_utils):
            stack.enter_context(mock.patch.object(module, "_foreach_supported_types", types))
        if find_spec("triton"):
            stack.enter_context(mock.patch("nas.engine.triton.launch.start", no_launch))
        stack.enter_context(fake)
        stack.enter_context(FakeResults())
        yield fake


def no_launch(*_: Any, **__: Any) -> None:
    """In the place of a launch of Triton's."""


def move(module: nn.Module, fake: FakeTensorMode) -> nn.Module:
    """The module itself, its parameters and buffers replaced by fake ones on the GPU."""
    for part in module.modules():
        for tensors in (part._parameters, part._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = _fake(tensor, fake)
    return module


def _fake(tensor: Tensor, fake: FakeTensorMode) -> Tensor:
    with unset_fake_temporarily():
        moved = FakeTensor(fake, tensor.detach().to("meta"), torch.device("cuda", 0))
    return nn.Parameter(moved, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else moved


@torch.no_grad()
def run_backward(
    tensors: Sequence[Tensor],
    grads: Sequence[Tensor],
    retain_graph: bool,
    create_graph: bool,
    inputs: Sequence[Tensor] = (),
    *_: Any,
    **__: Any,
) -> tuple[Tensor | None, ...]:
    """What torch's engine does, node by node and without streams; see ``torch.autograd.graph._engine_run_backward``."""
    edges = [torch.autograd.graph.get_gradient_edge(tensor)[:2] for tensor in inputs]
    order = sorted_nodes([tensor.grad_fn for tensor in tensors])
    arrived: dict[Any, dict[int, Tensor]] = defaultdict(dict)
    for tensor, grad in zip(tensors, grads, strict=True):
        arrived[tensor.grad_fn][tensor.output_nr] = grad
    for node in order:
        if type(node).__name__ == "AccumulateGrad" or not arrived[node]:
            continue
        for (following, number), grad in gradients(node, arrived[node]):
            fitted, before = fit(grad, following._input_metadata[number]), arrived[following].get(number)
            arrived[following][number] = fitted if before is None else before + fitted
    if inputs:
        return tuple(arrived[node].get(number) for node, number in edges)
    for node in order:
        if type(node).__name__ == "AccumulateGrad" and arrived[node]:
            node.variable.grad = arrived[node][0]
    return ()


def sorted_nodes(roots: Sequence[Any]) -> list[Any]:
    """All nodes of a graph, each after those that give it gradients."""
    order: list[Any] = []
    seen: set[Any] = set()
    stack = [(root, iter(root.next_functions)) for root in roots]
    while stack:
        node, following = stack[-1]
        seen.add(node)
        fresh = next((each for each, _ in following if each is not None and each not in seen), None)
        if fresh is None:
            order.append(node)
            stack.pop()
        else:
            stack.append((fresh, iter(fresh.next_functions)))
    return order[::-1]


def gradients(node: Any, arrived: dict[int, Tensor]) -> list[tuple[tuple[Any, int], Tensor]]:
    """What a node passes on, with where to."""
    metadata = node._input_metadata
    given = [
        arrived[number] if number in arrived else torch.zeros(each.shape, dtype=each.dtype, device=each.device)
        for number, each in enumerate(metadata)
    ]
    edges = node.next_functions
    if isinstance(node, torch.autograd.function.BackwardCFunction):
        results = node.apply(*given)
        results = results if isinstance(results, tuple) else (results,)
        results = [each for each, needed in zip(results, node.needs_input_grad, strict=True) if needed]
        edges = [edge for edge in edges if edge[0] is not None]
    else:
        results = node(*given)
        results = results if isinstance(results, tuple) else (results,)
    pairs = zip(edges, results, strict=True)
    return [(edge, result) for edge, result in pairs if edge[0] is not None and result is not None]


def fit(grad: Tensor, metadata: Any) -> Tensor:
    """The gradient in the shape and type of what it is of.

    Raises:
        AssertionError: it lies on another device, or its shape cannot be summed to the other.
    """
    assert grad.device == metadata.device, f"a gradient on {grad.device} of a tensor on {metadata.device}"
    if grad.shape != metadata.shape:
        grad = grad.sum_to_size(metadata.shape)
    return grad.to(metadata.dtype)
