"""What an operation is made of, for an engine that computes the same operation of many edges at once.

An operation is a sum of terms. A block says its own beside its forward pass, in a method ``terms``; those of a plain
sequence of layers are read from it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from nas.blocks.grids import GridConv2d
from nas.blocks.pooling import AvgPool2d

Step = Callable[[Tensor, Tensor], Tensor]
"""``step(map, state)`` → map: each image by itself, without parameters; the state is the operation's input."""

ACTIVATIONS = (nn.ReLU, nn.ReLU6)
CONVOLUTIONS = (nn.Conv2d, GridConv2d)
POOLS = (nn.MaxPool2d, nn.AvgPool2d, AvgPool2d)


@dataclass(frozen=True)
class Segment:
    """[Activation] → convolutions, one after another → batch norm.

    Args:
        activation: its class; None: there is none.
        convolutions: empty: there is only the batch norm, after a pooling.
        norm: over the last convolution's map.
        odd: a second 1×1 convolution of stride 2 beside the only one of ``convolutions``, over the odd pixels of a map
            with zeros beyond it, where the first is over the even ones; its channels come after those of the first.
    """

    activation: type[nn.Module] | None
    convolutions: tuple[nn.Conv2d, ...]
    norm: nn.BatchNorm2d
    odd: nn.Conv2d | None = None


Piece = Segment | Step


@dataclass(frozen=True)
class Term:
    """A summand of an operation: pieces in a row from its input on; without any it is the input.

    Args:
        pieces: segments, and steps between them.
        zeros: channels of zeros that stand before and after what the pieces give.
    """

    pieces: tuple[Piece, ...] = ()
    zeros: tuple[int, int] = (0, 0)


def terms_of(operation: nn.Module) -> list[Term] | None:
    """The terms whose sum an operation is; None: it is something else.

    A class says its terms for itself only: what is derived from it may compute something else.
    """
    if own := vars(type(operation)).get("terms"):
        terms: list[Term] | None = own(operation)
        return terms
    layers = leaves(operation)
    if layers and type(layers[0]) in POOLS:
        return pool_terms(*layers)
    segments = segments_of(*layers)
    return None if segments is None else [Term(segments)]


def pool_terms(pool: nn.Module, *layers: nn.Module) -> list[Term] | None:
    """Those of a pooling followed by nothing or a batch norm; None: by something else."""
    norms = tuple(Segment(None, (), layer) for layer in layers if type(layer) is nn.BatchNorm2d)
    return [Term((ModuleStep(pool), *norms))] if len(norms) == len(layers) < 2 else None


def pieces_of(first: nn.Module, *modules: nn.Module) -> tuple[Piece, ...] | None:
    """What modules in a row are, of which the first may say itself, in a method ``pieces``; None: something else."""
    own = vars(type(first)).get("pieces")
    if own is None:
        return segments_of(first, *modules)
    pieces, segments = own(first), segments_of(*modules)
    return None if pieces is None or segments is None else (*pieces, *segments)


def segments_of(*modules: nn.Module) -> tuple[Segment, ...] | None:
    """The segments that modules in a row are; None: they are something else."""
    segments: list[Segment | None] = []
    layers: list[nn.Module] = []
    for layer in leaves(*modules):
        if type(layer) is nn.BatchNorm2d:
            segments.append(segment_of(layers, layer))
            layers = []
        else:
            layers.append(layer)
    known = tuple(segment for segment in segments if segment)
    return known if not layers and len(known) == len(segments) else None


def segment_of(layers: list[nn.Module], norm: nn.BatchNorm2d) -> Segment | None:
    """The segment of a batch norm and the layers before it."""
    activation = type(layers[0]) if layers and type(layers[0]) in ACTIVATIONS else None
    rest = layers[1:] if activation else layers
    convolutions = tuple(layer for layer in rest if isinstance(layer, nn.Conv2d) and type(layer) in CONVOLUTIONS)
    return Segment(activation, convolutions, norm) if rest and len(convolutions) == len(rest) else None


def leaves(*modules: nn.Module) -> list[nn.Module]:
    """The layers in the order they run; one used twice is there twice, which ``nn.Module.modules`` would hide."""
    layers: list[nn.Module] = []
    for module in modules:
        if type(module) is nn.Sequential:
            layers += leaves(*module)
        elif type(module) is not nn.Identity:
            layers.append(module)
    return layers


@dataclass(frozen=True)
class ModuleStep:
    """A module without parameters as a step, which does not look at the state."""

    module: nn.Module

    def __call__(self, x: Tensor, state: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        return y


def shortcut_terms(channels: int, of: int) -> list[Term]:
    """What a shortcut adds that carries the first ``channels`` of ``of``: one term, or none."""
    if channels == of:
        return [Term()]
    return [Term((lambda x, state: x[:, :channels],), (0, of - channels))] if channels else []
