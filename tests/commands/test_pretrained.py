"""Weights to start from: torchvision's, downloaded or in a file; what is none is refused in a line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from torchvision.models import MobileNet_V2_Weights, get_model

from nas.architecture import of_network
from nas.commands.pretrained import Pretrained, pretrained
from nas.commands.retraining import initial_weights
from nas.errors import UsageError
from nas.macro.torchvision_weights import tensor_names
from nas.run.folder import find
from nas.run.results import TrainResult
from nas.settings import TrainSettings

Nas = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what torchvision has downloaded."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def state_of(model: str, **settings: float) -> dict[str, Tensor]:
    torch.manual_seed(5)
    return dict(get_model(model, **settings).state_dict())


def test_torchvisions_own(hub: Path) -> None:
    state = state_of("mobilenet_v2")
    torch.save(state, hub / Path(MobileNet_V2_Weights.DEFAULT.url).name)
    start = pretrained("torchvision:mobilenet_v2")
    assert (start.architecture.body["network"], start.architecture.classes) == ("mobilenet_v2", 1000)
    network = start.architecture.build().eval()
    network.load_state_dict(dict(start.weights))
    image, reference = torch.randn(1, 3, 64, 64), get_model("mobilenet_v2").eval()
    reference.load_state_dict(state)
    assert (network(image) - reference(image)).abs().max() < 1e-5


def test_a_file_starts_a_training_with_a_new_classifier(nas: Nas, tmp_path: Path) -> None:
    state, path = state_of("mobilenet_v3_small"), tmp_path / "small.safetensors"
    save_file(state, path)
    words = [
        "--data",
        "digits",
        "--limit",
        "20",
        "--preset",
        "quick",
        "--epochs",
        "1",
        "--batch",
        "20",
        "--freeze",
        "1",
    ]
    status, _, err = nas("retrain", *words, "--freeze", "1", "--init", str(path))
    assert status == 0, err
    assert f"--init {path}: the classifier of 1000 classes starts anew, for the 10 of digits" in err.splitlines()
    run = find("last", tmp_path / "runs")
    begun, ours = load_file(run.path / "init.safetensors"), tensor_names("mobilenet_v3_small")
    new = {ours[name] for name in state if name.startswith("classifier.3.")}
    assert set(begun) == set(ours.values()) - new
    assert all(torch.equal(begun[name], state[theirs]) for theirs, name in ours.items() if name not in new)
    init = run.result(TrainResult).init
    assert init is not None and init.run == str(path)
    stem = ours["features.0.0.weight"]
    assert torch.equal(load_file(run.path / "weights.safetensors")[stem], begun[stem])
    by_file, by_run = (pretrained(str(path)) for path in (run.path / "weights.safetensors", run.path))
    assert (by_file.where, by_file.data) == (by_run.where, by_run.data) == (str(run.path), "digits")


def test_the_classifier_stays_where_the_classes_are_as_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save(state_of("mobilenet_v2", num_classes=10, width_mult=0.5), tmp_path / "half.pth")
    start, settings = pretrained(str(tmp_path / "half.pth")), TrainSettings(data="digits")
    half = of_network("mobilenet_v2", {"width": 0.5}, input=(3, 16, 16), classes=10)
    assert initial_weights(start, [half], settings) is not None
    assert not capsys.readouterr().err
    with pytest.raises(UsageError, match=r"half\.pth: stages\.0\.0\.0\.weight is to have the shape"):
        initial_weights(start, [start.architecture], settings)


def test_a_classifier_is_for_its_data_however_that_is_spelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "flowers").mkdir()
    monkeypatch.chdir(tmp_path)
    network = of_network("mobilenet_v2", {}, input=(3, 16, 16), classes=5)
    start = Pretrained("a run", {}, network, "flowers/")
    for data, new in (("flowers", False), (str(tmp_path / "flowers"), False), ("digits", True), ("other", True)):
        assert start.new_head(5, data) == new


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:mobilenet_v9", "mobilenet_v2"),
        ("torchvision:resnet18", "mobilenet_v2"),
        ("other.pth", "its tensors have the names of none of torchvision's mobilenet_v2"),
        ("text.pth", "is no file of weights"),
        ("nothing.pth", 'no run "nothing.pth"'),
    ],
)
def test_what_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, said: str) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": torch.zeros(1)}, "other.pth")
    Path("text.pth").write_text("text")
    with pytest.raises(UsageError, match=said):
        pretrained(name, tmp_path / "runs")


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    with pytest.raises(
        UsageError, match=r"cannot be downloaded: no route to host; a file of them will do: --init FILE"
    ):
        pretrained("torchvision:mobilenet_v3_large")
