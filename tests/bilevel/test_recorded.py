"""A step as a GPU records it: on the CPU the same code, not recorded."""

import copy
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nas import data
from nas import space as spaces
from nas.bilevel.build import ENGINES
from nas.bilevel.gradients import Learner
from nas.bilevel.loop import Step
from nas.cells.supernet import Supernet
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Split
from nas.moment import Moment
from nas.settings import SearchSettings
from nas.train.recorded import restore


def step_on(device: str, engine: str = "merged", *, cutout: bool = True) -> Step:
    torch.manual_seed(0)
    supernet = Supernet(spaces.load("darts+sandglass"), channels=4, cells=3, fan_out=ENGINES[engine]).to(device)
    dataset = data.load("digits")
    augmentation = Augmentation.of(dataset, cutout=cutout, device=device)
    splits = [Split(part.images.to(device), part.labels.to(device)) for part in dataset.divided(600, 0)]
    streams = [Stream(split, augmentation, 4, seed) for seed, split in enumerate(splits)]

    return Step(Learner(supernet, SearchSettings(alphas_from=1)), *streams)


def moment(step: int, *, alphas: bool = True) -> Moment:
    return Moment(0, epoch=1 if alphas else 0, epochs=50, step=step)


class Waits(TorchDispatchMode):
    """Raises where the host would have to know a value that the device computes."""

    WORDS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "is_same_size", "equal")

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in self.WORDS:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("alphas", [True, False])
@pytest.mark.parametrize("engine", list(ENGINES))
def test_no_step_waits_for_the_device(engine: str, alphas: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_on("cpu", engine)
    step(moment(0))  # an epoch's numbers, drawn on the host, are there
    monkeypatch.setattr(step.learner.alpha_optimizer, "step", lambda: None)  # counts its steps on the host on a CPU
    with Waits():
        step(moment(1, alphas=alphas))


def test_a_wait_would_be_seen() -> None:
    loss, _ = step_on("cpu")(moment(0))
    with Waits(), pytest.raises(AssertionError, match="_local_scalar_dense"):
        float(loss)


def test_steps_are_those_of_the_learner() -> None:
    mine, theirs = step_on("cpu"), step_on("cpu")
    for number in (0, 1):
        loss, right = mine(moment(number))
        train, valid = theirs.train.at(number), theirs.valid.at(number)
        wanted, logits = theirs.learner.step(moment(number), train, valid)
        assert torch.equal(loss, wanted) and right == (logits.argmax(1) == train[1]).sum()
    for found, expected in zip(mine.supernet.parameters(), theirs.supernet.parameters(), strict=True):
        assert torch.equal(found, expected)


def test_what_a_step_changes_can_be_put_back() -> None:
    step = step_on("cpu")
    drawn = [*step.train.drawn(0), *step.valid.drawn(0)]
    before = {name: value.detach().clone() for name, value in step.changed().items()}
    whole = copy.deepcopy(step.supernet.state_dict())
    step.gradients(True, moment(0), *drawn)
    assert set(step.changed()) > set(before), "the alphas' moments came to be"
    restore(step.changed(), before)
    for name, value in step.supernet.state_dict().items():
        assert torch.equal(value, whole[name]), name
    assert all(not value.any() for name, value in step.changed().items() if name not in before)


@pytest.mark.gpu
def test_recorded_steps_are_the_same() -> None:
    recorded, eager = step_on("cuda"), step_on("cuda")
    assert recorded.recordable
    eager.recordable = False
    for number in range(3):
        assert torch.allclose(recorded(moment(number))[0], eager(moment(number))[0], rtol=1e-4)
