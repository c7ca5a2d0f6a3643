"""What only a GPU can tell of a search: gradients, recordings, resuming, moving from one device to the other.

``make test-gpu`` runs them. Where two courses are compared they are in float64, on the library back end: in single
precision a difference in the last bit is all of a momentum after twenty steps.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from nas import space as spaces
from nas.bilevel.gradients import Learner
from nas.bilevel.loop import Step, measured, search
from nas.errors import Interrupted
from nas.execution import Execution
from nas.moment import Moment
from nas.run.folder import Run, create
from nas.run.log import SearchEpoch
from nas.run.spec import SearchSpec, Size
from nas.settings import SearchSettings
from nas.space import CellSpace
from nas.train import checkpoint
from nas.train.schedule import set_rate
from nas.train.session import Session
from tests.bilevel.steps import SPACE, distance, random_dataset, settings_of, step_of
from tests.cluster.float64 import in_float64

pytestmark = [pytest.mark.gpu, pytest.mark.measuring]
DARTS = replace(spaces.load("darts+sandglass"), nodes=2)


@pytest.fixture(autouse=True)
def exact() -> Iterator[None]:
    """Single precision is what it says, and the library's convolutions add in one order."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic = False, False, True
    yield
    cudnn.allow_tf32, matmul.allow_tf32, cudnn.deterministic = before


# ---- gradients


def gradients(settings: SearchSettings, space: CellSpace, device: str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Of both halves of a step, at the same weights, alphas and draws everywhere."""
    supernet = step_of(settings, "cpu", space).supernet.to(dtype)
    learner = Learner(supernet.to(device), settings, device)
    images, labels = random_dataset().random_batch(8, "cpu")
    batch = images.to(device, dtype), labels.to(device)
    learner.begin(Moment(0, epoch=1, epochs=5))
    learner.differentiate_alphas(batch, batch)
    alphas = {f"alphas {name}": alpha.grad for name, alpha in supernet.alphas.items()}
    learner.differentiate_weights(batch)
    weights = {name: parameter.grad for name, parameter in supernet.named_parameters()}
    return {name: each.clone() for name, each in (alphas | weights).items() if each is not None}


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-2)])
@pytest.mark.parametrize("changes", [{}, {"partial": 2}, {"relaxation": "path"}, {"relaxation": "dirichlet"}], ids=str)
@pytest.mark.parametrize("engine", ["merged", "reference"])
def test_gradients_are_those_of_a_cpu(
    engine: str, changes: dict[str, object], dtype: torch.dtype, error: float
) -> None:
    settings = settings_of(engine=engine, **changes)
    wanted = gradients(settings, DARTS, "cpu", torch.float64)
    assert distance(gradients(settings, DARTS, "cuda", dtype), wanted) < error


def test_second_order_gradients_are_those_of_a_cpu() -> None:
    settings = settings_of(order=2)
    wanted = gradients(settings, SPACE, "cpu", torch.float64)
    assert distance(gradients(settings, SPACE, "cuda", torch.float64), wanted) < 1e-4


# ---- recordings


METHODS = ("darts", "darts-2nd", "snas", "pc-darts", "sdarts-rs", "sdarts-adv", "beta-darts", "darts-minus", "a2m")
EPOCHS = (1, 1, 2, 0, 0, 2, 3)
"""Of a course's steps: the alphas learn, then not, then again; each recording is replayed."""


def course_of(step: Step, epochs: Sequence[int] = EPOCHS) -> Tensor:
    """Steps of these epochs. The losses."""
    losses = []
    for number, epoch in enumerate(epochs):
        set_rate(step.learner.weight_optimizer, 0.025 / (1 + epoch))
        losses.append(step(Moment(0, epoch, 5, number))[0].clone())
    return torch.stack(losses)


def assert_same(found: Step, wanted: Step, error: float = 1e-7) -> None:
    """Weights, statistics, momenta and moments, but for a relative error."""
    for part in ("supernet", "weights", "alphas"):
        pair = [{n: v for n, v in each.changed().items() if n.startswith(part)} for each in (found, wanted)]
        assert distance(*pair) <= error, part


def test_recorded_steps_by_triton_are_nearly_the_eager_ones_and_twice_the_same_bits() -> None:
    """What a GPU prefers, in single precision: the kernels add in one order, and here the library too."""
    once, again, eager = (step_of(settings_of(), "cuda", backend="auto") for _ in range(3))
    eager.recordable = False
    found, same, wanted = (course_of(each, (1, 1, 2)) for each in (once, again, eager))
    assert once.recording is not None and eager.recording is None
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=0.0)
    assert_same(once, eager, 1e-2)
    assert torch.equal(found, same)
    apart = [name for name, value in once.changed().items() if not torch.equal(again.changed()[name], value)]
    assert not apart


@pytest.mark.parametrize("method", METHODS)
def test_recorded_steps_are_the_eager_ones(method: str) -> None:
    check_recording(settings_of(method))


@pytest.mark.parametrize("changes", [{"recompute": True}, {"engine": "reference"}], ids=str)
def test_so_they_are_with(changes: dict[str, object]) -> None:
    check_recording(settings_of(**changes))


def check_recording(settings: SearchSettings) -> None:
    recorded, eager = (step_of(settings, "cuda", dtype=torch.float64) for _ in range(2))
    assert recorded.recordable
    eager.recordable = False
    found, wanted = (course_of(each) for each in (recorded, eager))
    assert recorded.recording is not None and eager.recording is None
    torch.testing.assert_close(found, wanted, rtol=1e-7, atol=0.0)
    assert_same(recorded, eager)


def test_in_half_precision_they_nearly_are() -> None:
    """Where sums round apart, a map's last of 8 bits does."""
    recorded, eager = (step_of(settings_of(precision="bf16"), "cuda") for _ in range(2))
    eager.recordable = False
    found, wanted = (course_of(each, (1, 1)) for each in (recorded, eager))
    assert recorded.recording is not None
    torch.testing.assert_close(found, wanted, rtol=5e-2, atol=0.0)


def test_measuring_changes_nothing_and_keeps_the_recording() -> None:
    step, fresh = (step_of(settings_of(), "cuda", dtype=torch.float64) for _ in range(2))
    estimate = measured(step, random_dataset(), "cuda", step.learner.settings.batch)
    assert estimate.seconds > 0 and estimate.peak_bytes > 0 and step.recording is not None
    before, after = (each.supernet.state_dict() for each in (fresh, step))
    for name, value in before.items():
        assert torch.equal(after[name], value), name
    course_of(step), course_of(fresh)
    assert_same(step, fresh)


@pytest.mark.parametrize("changes", [{"method": "gdas"}, {"method": "oles"}, {"relaxation": "dirichlet"}], ids=str)
def test_what_is_not_recorded_learns(changes: dict[str, str]) -> None:
    step = step_of(settings_of(**changes), "cuda")
    assert not step.recordable
    before = copy.deepcopy(dict(step.supernet.named_parameters()))
    assert course_of(step).isfinite().all()
    for name in ("alphas.normal", "network.classifier.weight"):
        assert not torch.equal(dict(step.supernet.named_parameters())[name], before[name]), name


# ---- whole searches


PLAIN = settings_of(epochs=3)
Searched = Callable[..., dict[str, dict[str, Tensor]]]


class Stopping(Session[SearchEpoch]):
    """Is asked to stop in the middle of the second epoch, and again of the third."""

    def _stop_if_asked(self) -> None:
        self._signal.number = 2 if self.step in (self.per_epoch + 3, 2 * self.per_epoch + 3) else 0
        super()._stop_if_asked()


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Searched:
    """``searched(*devices)``: a checkpoint's tensors after a search, in float64, killed on each device but the last."""
    in_float64(monkeypatch.setattr)
    monkeypatch.setattr("nas.data.load", lambda *_, device, **__: random_dataset(device))

    def run(*devices: str, settings: SearchSettings = PLAIN) -> dict[str, dict[str, Tensor]]:
        execution = partial(Execution, backend="library")
        spec = SearchSpec(settings=settings, execution=Execution(device="cpu").resolved(), final=Size(4, 2))
        folder = create(tmp_path / "-".join(devices), "search", spec)
        with monkeypatch.context() as patch:
            patch.setattr("nas.bilevel.loop.Session", Stopping)
            for device in devices[:-1]:
                with pytest.raises(Interrupted, match="saved"):
                    search(folder, settings, SPACE, execution(device))
        search(folder, settings, SPACE, execution(devices[-1]))
        return tensors_of(folder)

    return run


def tensors_of(folder: Run) -> dict[str, dict[str, Tensor]]:
    """What is in a checkpoint, by part and name."""
    state = checkpoint.load(folder.path / "checkpoint")
    assert state is not None and len(folder.log(SearchEpoch)) == folder.spec(SearchSpec).settings.epochs
    parts = state.parts
    found = {"supernet": parts["supernet"]}
    for name in ("weights", "alphas"):
        each = parts[name]["state"]
        found[name] = {f"{index} {key}": value for index, entry in each.items() for key, value in entry.items()}
    return found


def test_killed_and_resumed_on_one_gpu(searched: Searched) -> None:
    whole, resumed = (searched(*["cuda"] * runs) for runs in (1, 3))
    for part, tensors in whole.items():
        assert distance(resumed[part], tensors) < 1e-7, part


def test_a_search_moves_from_one_device_to_the_other_and_back(searched: Searched) -> None:
    """On a GPU the rates are in single precision, which some twenty steps make much of."""
    wanted = searched("cpu")["supernet"]
    for devices in (("cpu", "cuda", "cpu"), ("cuda", "cpu", "cuda")):
        assert distance(searched(*devices)["supernet"], wanted) < 1e-3, devices


@pytest.mark.parametrize("method", ["p-darts", "drnas"])
def test_searches_of_stages(searched: Searched, method: str) -> None:
    keep = {"p-darts": "3,2", "drnas": "2"}[method]
    partials = "2,1" if method == "drnas" else None
    changes = {"keep": keep, "stage_partials": partials, "deepen": int(method == "p-darts"), "alphas_from": 0}
    found = searched("cuda", settings=settings_of(method, epochs=3, **changes))
    assert all(value.isfinite().all() for value in found["supernet"].values())


def test_nas_search_on_digits(nas: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for package in ("matplotlib", "sklearn", "typer"):
        pytest.importorskip(package)
    size = "--channels 8 --cells 3 --epochs 2 --batch 16 --limit 128 --precision bf16"
    space = Path(__file__).parents[1] / "small_space.toml"
    words = ["--space", str(space), "--data", "digits", "--device", "cuda", "--runs", str(tmp_path / "r")]
    status, _, err = nas("search", *words, *size.split())
    assert status == 0, err
    assert next((tmp_path / "r").glob("*/genotype.json")).is_file()
