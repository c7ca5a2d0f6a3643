"""How the compiled kernels are called: their structures, and tensors as pointers."""

import ctypes
from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from nas.engine.native import compiler

VERSION = 3
"""Of the structures, as LAYOUT_VERSION in lanes.h: raised with any change of their fields."""
INTEGER, POINTER, POINTERS = ctypes.c_int64, ctypes.c_void_p, ctypes.POINTER(ctypes.c_void_p)
Value = Tensor | Sequence[Tensor | None] | None
"""Of a field: a tensor or a list of tensors becomes a pointer, None the null pointer."""


class SegmentFields(ctypes.Structure):
    """``struct Segment`` of segment.cpp, whose ``in`` is ``channels`` here."""

    __slots__ = ()
    _fields_ = (
        *((name, INTEGER) for name in ("threads", "precise", "images", "edges", "shared")),
        *((name, INTEGER) for name in ("channels", "height", "width", "out", "out_height", "out_width")),
        *((name, INTEGER) for name in ("kernel", "stride", "padding", "dilation")),
        *((name, INTEGER) for name in ("pointwise", "activation", "even", "training", "add")),
        *((name, ctypes.c_double) for name in ("eps", "momentum")),
        *((name, POINTER) for name in ("x", "depthwise_weight", "pointwise_weight")),
        *((name, POINTER) for name in ("x_mean", "x_invstd", "x_scale", "x_shift")),
        *((name, POINTER) for name in ("y", "y_mean", "y_invstd", "y_scale", "y_sums")),
        *((name, POINTER) for name in ("x_grad", "depthwise_grad", "pointwise_grad", "x_sums")),
        *((name, POINTERS) for name in ("y_grad", "running", "batches")),
    )


class MixFields(ctypes.Structure):
    """``struct Mix`` of mix.cpp."""

    __slots__ = ()
    _fields_ = (
        *((name, INTEGER) for name in ("threads", "precise", "images", "edges", "channels", "pixels", "terms")),
        *((name, POINTER) for name in ("shared", "scale", "offset", "out", "mean", "sums", "slope", "shift")),
        *((name, POINTERS) for name in ("maps", "grads", "map_grads")),
    )


class PoolsFields(ctypes.Structure):
    """``struct Pools`` of pools.cpp."""

    __slots__ = ()
    _fields_ = (
        *((name, INTEGER) for name in ("threads", "precise", "images", "channels", "height", "width")),
        *((name, INTEGER) for name in ("out_height", "out_width", "stride")),
        *((name, POINTER) for name in ("x", "max", "mean", "max_grad", "mean_grad", "x_grad")),
    )


LAYOUTS = {"segment_layout": SegmentFields, "mix_layout": MixFields, "pools_layout": PoolsFields}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled kernels; None: they cannot be had.

    Raises:
        RuntimeError: their structures are not those of this file.
    """
    kernels = compiler.library()
    for name, structure in LAYOUTS.items():
        wanted = (VERSION, ctypes.sizeof(structure))
        if kernels is not None and (layout := tuple((INTEGER * 2).in_dll(kernels, name))) != wanted:
            raise RuntimeError(f"{name} (version, bytes): {layout} in the C++ sources, {wanted} in {__file__}")
    return kernels


def call(function: str, fields: ctypes.Structure, dtype: torch.dtype, **values: Value) -> None:
    """Calls a kernel on maps of a dtype; the values are its last fields."""
    fields.threads, fields.precise = torch.get_num_threads(), dtype == torch.float64
    fill(fields, **values)
    getattr(library(), function)(ctypes.byref(fields))


def fill(fields: ctypes.Structure, **values: Value) -> None:
    """Sets pointers; kernels know no strides, so all memory is contiguous or channels-last."""
    for name, value in values.items():
        if isinstance(value, Tensor):
            setattr(fields, name, value.data_ptr())
        elif value is None:
            setattr(fields, name, None)
        else:
            pointers = [None if each is None else each.data_ptr() for each in value]
            setattr(fields, name, (POINTER * len(value))(*pointers))
