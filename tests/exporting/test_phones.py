"""Forms for phones, each by its own runtime; skipped where that is not installed."""

import json
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import nas as library
from nas import data
from nas.errors import UsageError
from nas.exporting import FORMS, Trained
from nas.exporting.fold import folded
from nas.exporting.model import compare
from nas.run.folder import Run
from nas.run.results import TrainResult
from tests.exporting.trained import cell, macro, short, trained

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("nas")]  # of the converters' own
NETWORKS = {
    "mobilenext": short,
    "cell": cell,
    "asymmnet": lambda: macro("asymmnet", size="small"),
    "hbonet": lambda: macro("hbonet"),
}


def installed(form: str) -> None:
    for package in FORMS[form].packages:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


@pytest.fixture(scope="module")
def run(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(short(), cifar, tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("form", ["executorch", "ncnn"])
def test_a_model_computes_what_the_network_does(form: str, name: str) -> None:
    installed(form)
    network = NETWORKS[name]().build().eval()
    images = torch.randn(3, 3, 32, 32).to(memory_format=torch.channels_last)
    convert = FORMS[form].convert
    assert convert
    model = convert(folded(network), (3, 32, 32), {})
    assert model.predict
    agreement = compare(network, model.predict, [images[:1], images[1:]])
    assert agreement.same == 1 and agreement.difference <= 1e-4 * agreement.largest


@pytest.mark.parametrize("form", ["executorch", "ncnn"])
def test_exported(form: str, run: Run, nas: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    installed(form)
    status, out, err = nas("export", str(run.path), "--to", form, "--out", str(tmp_path / "model"), "--json")
    assert status == 0, err
    agreement = json.loads(out)["agreement"]
    assert agreement["same"] == 1 and agreement["images"] == 72
    if form == "ncnn":
        names = {file.name for file in (tmp_path / "model").iterdir()}
        assert names == {"model.param", "model.bin", "preprocessing.json"}


def test_an_executorch_file_says_what_its_images_must_be(run: Run, tmp_path: Path, cifar: Path) -> None:
    installed("executorch")
    from nas.exporting.executorch import Runner

    form = Trained(run.path, library.load(run.path), data.load("cifar10", root=cifar), 0)
    FORMS["executorch"].write(form, tmp_path / "model.pte")
    metadata = Runner((tmp_path / "model.pte").read_bytes()).metadata
    assert metadata == json.loads(json.dumps(form.preprocessing))


def test_executorch_in_8_bits(run: Run, nas: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    installed("executorch")
    before = run.result(TrainResult).test_openings
    status, out, err = nas("export", str(run.path), "--to", "executorch-int8", "--out", "small.pte", "--json")
    assert status == 0, err
    result = json.loads(out)
    assert set(result["test_accuracy"]) == {"torch", "executorch", "int8"} and result["weight_bits"] == 8
    assert result["test_openings"] == before + 1
    small = (tmp_path / "small.pte").read_bytes()
    assert result["bytes"]["int8"] == len(small) < result["bytes"]["executorch"]


def test_core_ml_is_converted_and_said_to_be_unchecked(
    run: Run, nas: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    installed("coreml")
    status, out, err = nas("export", str(run.path), "--to", "coreml", "--out", "folder")
    assert status == 0, err
    assert (tmp_path / "folder" / "model.mlpackage" / "Manifest.json").is_file()
    assert "not checked" in out or "agrees" in out


def test_what_pnnx_cannot_convert_is_a_users_mistake() -> None:
    installed("ncnn")

    class Odd(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svdvals(x).flatten(1)

    convert = FORMS["ncnn"].convert
    assert convert
    with pytest.raises(UsageError, match=r"pnnx|ncnn"):
        convert(Odd(), (3, 8, 8), {})
