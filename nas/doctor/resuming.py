"""Saving and going on: a search and a training that were stopped against ones that were not."""

import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nas.architecture import of_network
from nas.bilevel.loop import search
from nas.doctor.check import Case, Line, broken, ok
from nas.execution import Execution
from nas.run.folder import Run, create
from nas.run.log import Epoch
from nas.run.spec import SearchSpec, Size, Spec, TrainSpec
from nas.settings import SearchSettings, TrainSettings
from nas.space import load
from nas.train.loop import train
from nas.train.weights import weights_of

SHORT: dict[str, Any] = {"data": "digits", "epochs": 2, "batch": 16, "limit": 64}
Watch = Callable[[Epoch], None]
Tensors = dict[str, Tensor]


class Halt(Exception):
    """Ends a search or training after its first epoch."""


def halt(epoch: Epoch) -> None:
    """Raises Halt."""
    raise Halt


def go_on(epoch: Epoch) -> None:
    """Lets a search or training go on."""


def resumed_search(case: Case) -> Line:
    """A small search: weights, alphas and batch statistics."""
    settings, space, here = SearchSettings(channels=4, cells=2, **SHORT), load("darts"), on_cpu(case)
    spec = SearchSpec(settings=settings, execution=here, final=Size(4, 2))

    def do(run: Run, watch: Watch) -> Tensors:
        return search(run, settings, space, here, watch=watch).state_dict()

    return compared(spec, do)


def resumed_training(case: Case) -> Line:
    """A small training: weights, their moving average and batch statistics."""
    settings, here = TrainSettings(ema=0.9, **SHORT), on_cpu(case)
    network = of_network("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10)
    spec = TrainSpec(settings=settings, execution=here)

    def do(run: Run, watch: Watch) -> Tensors:
        train(run, network, settings, here, open_test=False, watch=watch, quiet=True)
        return weights_of(run.path)

    return compared(spec, do)


def on_cpu(case: Case) -> Execution:
    """The same on the CPU, where equal means equal in every bit."""
    return replace(case.execution, device="cpu")


def compared(spec: Spec, do: Callable[[Run, Watch], Tensors]) -> Line:
    """Does a run at once, and another with a stop in the middle, and compares what they come to."""
    with tempfile.TemporaryDirectory() as folder:
        whole = do(create(Path(folder), "whole", spec), go_on)
        run = create(Path(folder), "halted", spec)
        with suppress(Halt):
            do(run, halt)
        second = do(run, go_on)
    unequal = [name for name, tensor in whole.items() if not torch.equal(tensor, second[name])]
    if unequal:
        advice = "what --resume gives here is not what the whole run would have given: do not rely on it"
        return broken(f"{len(unequal)} of {len(whole)} tensors differ, {unequal[0]} among them", advice)
    return ok(f"{len(whole)} tensors equal in every bit after a stop, on the CPU")
