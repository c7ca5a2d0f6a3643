"""A recording as a CUDA graph makes one, on a CPU: the same operations on the same memory, without their Python."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from nas.train.recorded import Results, copies, restore

WAITS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_same_size", "equal")
"""Operations for which the host would have to know a value that the device computes."""


def storages(values: Any) -> set[int]:
    """Addresses of the tensors' memory."""
    return {each.untyped_storage()._cdata for each in tree_leaves(values) if isinstance(each, Tensor)}


class Log(TorchDispatchMode):
    """Writes down every operation; raises where the host waits, or where a tensor changes that no one announced."""

    def __init__(self, changed: set[int]) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, Any]] = []
        self.own, self.changed = set[int](), changed

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
            raise AssertionError(f"{func} waits for the device")
        kwargs = kwargs or {}
        for argument, value in zip(func._schema.arguments, args, strict=False):
            if argument.alias_info and argument.alias_info.is_write:
                assert storages(value) <= self.own | self.changed, f"{func} changes what is not in changed()"
        outs = func(*args, **kwargs)
        self.own |= storages(outs) - storages((args, kwargs))
        self.calls.append((func, args, kwargs, outs))
        return outs


class ReplayGraph:
    """Records on a CPU; as on a GPU, recording itself computes nothing.

    Args:
        changed: what the function changes, by name.
    """

    def __init__(self, changed: Callable[[], Mapping[str, Tensor]]) -> None:
        self.changed = changed

    def warm_up(self, function: Callable[[], Results]) -> None:
        function()

    def record(self, function: Callable[[], Results]) -> Results:
        before = copies(self.changed())
        with Log(storages(list(self.changed().values()))) as log:
            results = function()
        self.calls = log.calls
        restore(self.changed(), before)
        for result in results:
            result.fill_(0)  # nothing has been computed yet
        return results

    @torch.no_grad()
    def replay(self) -> None:
        for func, args, kwargs, outs in self.calls:
            again = func(*args, **kwargs)
            for own, new in zip(tree_leaves(outs), tree_leaves(again), strict=True):
                if isinstance(own, Tensor) and own.data_ptr() != new.data_ptr():
                    own.copy_(new)
