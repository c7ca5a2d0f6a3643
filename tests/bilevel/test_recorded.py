"""A step as a GPU records it: on the CPU the same code, not recorded."""

import copy
import gc
import importlib
import weakref
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from nas import data
from nas import space as spaces
from nas.amounts import Cost, Limits
from nas.bilevel.budget import Budget
from nas.bilevel.build import ENGINES, build_supernet
from nas.bilevel.derivation import EdgeCosts
from nas.bilevel.gradients import Learner, fit
from nas.bilevel.loop import Step, measured, rehearsal
from nas.bilevel.stages import carry, stages
from nas.cells.supernet import Supernet
from nas.data.batches import Augmentation, Stream
from nas.data.dataset import Split
from nas.methods import METHODS
from nas.moment import Moment, Tape, TapedMoment
from nas.settings import SearchSettings
from nas.train.recorded import copies, restore
from nas.train.schedule import set_rate
from tests.bilevel.steps import COURSE, SPACE, as_on_a_gpu, random_dataset, settings_of, step_of
from tests.replay import WAITS


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

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in WAITS:
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
    step.run(True, moment(0), *drawn)
    assert set(step.changed()) > set(before), "the alphas' moments came to be"
    restore(step.changed(), before)
    for name, value in step.supernet.state_dict().items():
        assert torch.equal(value, whole[name]), name
    assert all(not value.any() for name, value in step.changed().items() if name not in before)


UNRECORDED = ("gdas", "drnas", "oles")
"""The host decides in them by what the device has computed."""
RECORDED = [method for method in METHODS if method not in (*UNRECORDED, "p-darts", "darts-pt", "darts-pt-blank")]
"""The other ones' steps are those of darts."""


@pytest.fixture
def capturable_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adam's form for graphs, which torch allows on GPUs only."""
    module = importlib.import_module("torch.optim.adam")
    monkeypatch.setattr(module, "_get_capturable_supported_devices", lambda *_, **__: ["cpu"])


def assert_same_course(settings: SearchSettings, budget: Budget | None = None) -> None:
    recorded, eager = (as_on_a_gpu(step_of(settings), recorded=each) for each in (True, False))
    assert recorded.learner.recordable
    for each in (recorded, eager):
        each.learner.budget = copy.deepcopy(budget)
    for moment in COURSE:
        for each in (recorded, eager):
            set_rate(each.learner.weight_optimizer, 0.1 / (1 + moment.epoch))
        found, wanted = recorded(moment), eager(moment)
        assert torch.equal(found[0], wanted[0]) and torch.equal(found[1], wanted[1])
        assert recorded.changed().keys() == eager.changed().keys()
        for name, value in eager.changed().items():
            assert torch.equal(recorded.changed()[name], value), f"{name} at {moment}"


@pytest.mark.parametrize("method", RECORDED)
def test_a_recorded_course_is_the_eager_one(method: str, capturable_cpu: None) -> None:
    """Alphas on, off and on again; rates, temperatures and draws of each step."""
    assert_same_course(settings_of(method, engine="reference", cells=2))


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"recompute": True}, {"partial": 2, "order": 2}], ids=str)
def test_so_it_is_with(changes: dict[str, object], capturable_cpu: None) -> None:
    assert_same_course(settings_of(engine="reference", cells=2, **changes))


def test_so_it_is_under_a_limit(capturable_cpu: None) -> None:
    edges = {kind: [{op: Cost(1000, 10) for op in SPACE.ops}] * SPACE.edges for kind in SPACE.kinds}
    budget = Budget(EdgeCosts(SPACE, Cost(), edges), Limits(madds=3000), steps=4)
    assert_same_course(settings_of(engine="reference"), budget)


@pytest.mark.parametrize("changes", [{"method": "gdas"}, {"method": "oles"}, {"relaxation": "dirichlet"}], ids=str)
def test_what_the_host_decides_is_not_recorded(changes: dict[str, str]) -> None:
    assert not step_of(settings_of(**changes)).learner.recordable


def test_a_draw_that_would_be_recorded_is_refused() -> None:
    moment = TapedMoment.of(Moment(0), Tape(torch.device("cpu")))
    with pytest.raises(AssertionError, match="only a law"):
        moment.stream("gumbel")


def test_a_change_that_no_one_announced_is_seen(capturable_cpu: None, monkeypatch: pytest.MonkeyPatch) -> None:
    step = as_on_a_gpu(step_of(settings_of(engine="reference")), recorded=True)
    announced = step.changed
    monkeypatch.setattr(step, "changed", lambda: {n: v for n, v in announced().items() if "momentum" not in n})
    with pytest.raises(AssertionError, match="changes what is not"):
        step(COURSE[0])


def test_one_recording_is_kept(capturable_cpu: None) -> None:
    step = as_on_a_gpu(step_of(settings_of(engine="reference")), recorded=True)
    step(COURSE[0])
    assert step.recording is not None
    first = weakref.ref(step.recording)
    step(COURSE[2])
    gc.collect()
    assert first() is None and step.recording.alphas is False


def test_measuring_a_recorded_step_changes_nothing(capturable_cpu: None) -> None:
    step = as_on_a_gpu(step_of(settings_of(engine="reference")), recorded=True)
    step(COURSE[0])
    before = copies(step.changed())
    assert measured(step, random_dataset(), "cpu", 4).seconds > 0
    assert step.recording is not None
    for name, value in step.changed().items():
        assert torch.equal(value, before[name]), name


# ---- states of the other device


def test_a_state_of_a_gpu_goes_on_on_a_cpu() -> None:
    whole, part, resumed = (step_of(settings_of(engine="reference")) for _ in range(3))
    whole(COURSE[0]), part(COURSE[0])
    for name, each in part.parts.items():
        state = copy.deepcopy(each.state_dict())
        for group in state.get("param_groups", ()):
            group["lr"] = torch.tensor(group["lr"])
            group.update({"capturable": True} if "capturable" in group else {"fused": True, "foreach": False})
        resumed.parts[name].load_state_dict(state)
    for each in (whole, resumed):
        set_rate(each.learner.weight_optimizer, 0.1)
        each(COURSE[1])
    for name, value in whole.changed().items():
        torch.testing.assert_close(resumed.changed()[name], value, msg=name)  # a GPU's rates are in single precision


def test_a_state_of_a_cpu_can_be_recorded_on_a_gpu() -> None:
    own = torch.nn.Parameter(torch.zeros(2))
    before = torch.optim.Adam([own], lr=0.1)
    own.grad = torch.ones(2)
    before.step()
    with FakeTensorMode(allow_non_fake_inputs=True):
        optimizer = torch.optim.Adam([torch.nn.Parameter(torch.empty(2, device="cuda"))], lr=0.1)
        optimizer.register_load_state_dict_post_hook(fit)
        optimizer.load_state_dict(before.state_dict())
        (group,), (state,) = optimizer.param_groups, optimizer.state.values()
    assert group["capturable"] and {state["step"].device.type, group["lr"].device.type} == {"cuda"}


def test_a_wider_stage_keeps_the_layout_of_the_momenta() -> None:
    """The one kernel of an update on a GPU wants parameters and momenta in one layout."""
    plan = stages(settings_of("drnas", epochs=4, keep="3", stage_partials="2,1", alphas_from=0))
    old, new = (step_of(stage.settings).learner for stage in plan)
    old.step(Moment(0), *[random_dataset().random_batch(4, "cpu")] * 2)
    carry(old, new, plan[1])
    for weight in new.weights:
        buffer = new.weight_optimizer.state[weight]["momentum_buffer"]
        assert all(
            a == b for a, b, size in zip(buffer.stride(), weight.stride(), weight.shape, strict=True) if size > 1
        )


def test_seeding_touches_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch warns where a fork of random streams covers several GPUs."""
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.random._fork_rng_warned_already", False)
    build_supernet(settings_of(), SPACE, 10)


@pytest.mark.parametrize(("changes", "halves"), [({"alphas_from": 5, "select": "perturbation"}, 0), ({}, 1)])
def test_a_step_is_measured_as_the_last_ones_are(
    changes: dict[str, object], halves: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Alphas that never learn have no half of it."""
    seen: list[int] = []
    monkeypatch.setattr(Learner, "step_alphas", lambda *_: seen.append(1))
    rehearsal(step_of(settings_of(**changes)), random_dataset(), "cpu")(4)
    assert len(seen) == halves
