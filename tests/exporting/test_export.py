"""nas export, through the command line, on trained runs of both branches."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

import nas as library
from nas import exporting, extras, plugins
from nas.architecture import of_genotype
from nas.cells.genotype import Cell, Genotype, from_text, pruned
from nas.errors import UsageError
from nas.exporting.fold import folded
from nas.exporting.onnx import predictor, to_onnx
from nas.run.folder import Run, find
from nas.run.results import TrainResult
from nas.run.spec import TrainSpec
from nas.train.weights import pack
from tests.exporting.trained import cell, short, trained

Nas = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore:data cifar10")
DILATED = (
    "Genotype(normal=[('dil_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('max_pool_3x3', 0), ('sandglass_3x3', 1)], reduce_concat=[2])"
)


@pytest.fixture(scope="module")
def both(cifar: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    networks = {"macro": short(), "cell": cell(DILATED)}
    return {name: trained(networks[name], cifar, tmp_path_factory.mktemp(name), auxiliary=0.4) for name in networks}


@pytest.fixture(params=["macro", "cell"])
def copied(request: pytest.FixtureRequest, both: dict[str, Run], tmp_path: Path) -> Path:
    return shutil.copytree(both[request.param].path, tmp_path / "run")


@pytest.fixture
def macro_run(both: dict[str, Run], tmp_path: Path) -> Path:
    return shutil.copytree(both["macro"].path, tmp_path / "run")


def exported(nas: Nas, *words: str) -> dict[str, Any]:
    status, out, err = nas("export", *words, "--json")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_onnx(nas: Nas, copied: Path, tmp_path: Path) -> None:
    found = exported(nas, "run", "--to", "onnx")
    agreement = found["agreement"]
    assert agreement["same"] == 1 and agreement["difference"] <= 1e-4 * agreement["largest"]
    assert agreement["images"] == 72
    path = tmp_path / found["file"]
    assert path == copied / "model.onnx" and found["bytes"] == {"onnx": path.stat().st_size}

    status, out, _ = nas("export", "run", "--to", "onnx")
    assert status == 0 and "100.0% of the predictions" in out
    network = library.load(copied)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3, 10):
        images = torch.randn(batch, 3, 32, 32)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        with torch.no_grad():
            np.testing.assert_allclose(logits, network(images).numpy(), atol=1e-4)
    model = onnx.load(path)
    assert not {"BatchNormalization", "Transpose"} & {node.op_type for node in model.graph.node}
    metadata = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert metadata.keys() == {"input", "mean", "std", "classes"} and metadata["classes"][3] == "class 3"
    assert b"site-packages" not in path.read_bytes(), "no stack traces of the machine it was made on"


EMPTY = pruned([[("sep_conv_3x3", 0)], [], [("dil_conv_3x3", 2), ("skip_connect", 3)]], (2, 3, 4))
BARS = from_text("|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|nor_conv_3x3~2|")


@pytest.mark.parametrize("genotype", [Genotype(EMPTY, EMPTY), BARS], ids=["empty nodes", "nasbench201"])
def test_cells_of_other_forms(genotype: Genotype) -> None:
    architecture = of_genotype(genotype, channels=4, cells=3)
    network = architecture.build().eval()
    predict = predictor(to_onnx(folded(network), architecture.input, {}))
    images = torch.randn(2, *architecture.input)
    with torch.no_grad():
        torch.testing.assert_close(predict(images), network(images), rtol=1e-4, atol=1e-4)


def test_noise_is_not_exported() -> None:
    cell = Cell(((("noise", 0), ("skip_connect", 1)),), (2,))
    network = of_genotype(Genotype(cell, cell), channels=4, cells=2).build().eval()
    with pytest.raises(UsageError, match="the operation noise draws anew"):
        to_onnx(network, (3, 16, 16), {})


def test_int8(nas: Nas, macro_run: Path, tmp_path: Path) -> None:
    found = exported(nas, "run", "--to", "int8", "--out", "small.onnx")
    assert set(found["test_accuracy"]) == set(found["latency"]) == {"torch", "onnx", "int8"}
    assert found["test_accuracy"]["torch"] == Run(macro_run).result(TrainResult).test_accuracy
    assert found["bytes"]["int8"] == (tmp_path / "small.onnx").stat().st_size
    assert found["calibration_images"] == 100 and found["weight_bits"] in (7, 8)
    assert found["test_openings"] == Run(macro_run).result(TrainResult).test_openings == 2
    nodes = onnx.load(tmp_path / "small.onnx").graph.node
    weights = [node for node in nodes if node.op_type == "Conv"]
    dequantized = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    assert weights and all(node.input[0] in dequantized and node.input[1] in dequantized for node in weights)


def test_int8_predicts_like_float(copied: Path, cifar: Path) -> None:
    """On weights that have learnt nothing accuracy says little; the logits do."""
    from nas import data
    from nas.exporting.int8 import quantized_onnx
    from nas.exporting.model import compare
    from nas.exporting.onnx import onnx_model

    trained = exporting.Trained(copied, library.load(copied), data.load("cifar10", root=cifar), 0)
    model, _ = exporting.checked(trained, onnx_model)
    small = quantized_onnx(trained.network, model, [trained.images(100)])
    assert model.predict and small.predict
    agreement = compare(model.predict, small.predict, [trained.images(100)])
    assert 0 < agreement.difference < 0.1 * agreement.largest


def test_a_folder_is_loaded_in_one_line(nas: Nas, copied: Path, tmp_path: Path) -> None:
    found = exported(nas, "run", "--to", "torch", "--out", "shipped")
    assert exported(nas, "run", "--to", "torch", "--out", "shipped") == found, "as after a kill, it is there"
    images = torch.randn(2, 3, 32, 32)
    logits = library.load(copied)(images)
    shutil.rmtree(copied)
    network = library.load(found["file"])
    assert isinstance(network, nn.Module) and torch.equal(network(images), logits)
    body = library.features(found["file"])
    assert [made.shape[1] for made in body(images).values()] == body.channels
    described = json.loads((tmp_path / "shipped" / "preprocessing.json").read_text())
    assert described["input"] == [3, 32, 32] and len(described["classes"]) == 10
    assert len(described["mean"]) == len(described["std"]) == 3
    others = {name: value + 1 for name, value in network.state_dict().items()}
    document = (tmp_path / "shipped" / "architecture.json").read_bytes()
    (tmp_path / "shipped" / "weights.safetensors").write_bytes(pack(others, document)[0])
    with pytest.raises(UsageError, match=r"weights\.safetensors is damaged, or not of the"):
        library.load(found["file"])


def test_a_model_that_computes_something_else_is_not_written(
    nas: Nas, macro_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(network: nn.Module) -> nn.Module:
        changed = folded(network)
        with torch.no_grad():
            list(changed.parameters())[-1].add_(torch.arange(10))
        return changed

    folded = exporting.folded
    monkeypatch.setattr(exporting, "folded", wrong)
    before = sorted(macro_run.iterdir())
    assert "exported model is wrong" in one_line(nas, "run", "--to", "onnx")
    assert sorted(macro_run.iterdir()) == before


def one_line(nas: Nas, *words: str) -> str:
    status, out, err = nas("export", *words)
    lines = [text for text in err.splitlines() if not text.startswith("warning:")]
    assert status == 2 and len(lines) == 1 and not out, err
    return lines[0]


def test_mistakes(nas: Nas, macro_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "did you mean onnx" in one_line(nas, "run", "--to", "onxn")
    assert "no folder" in one_line(nas, "run", "--to", "onnx", "--out", "no/where.onnx")
    assert "cannot write" in one_line(nas, "run", "--to", "onnx", "--out", str(tmp_path))
    (tmp_path / "there").mkdir()
    assert "there already" in one_line(nas, "run", "--to", "torch", "--out", "there")
    assert not list((tmp_path / "there").iterdir())
    weights = macro_run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "weights.safetensors cannot be read" in one_line(nas, "run", "--to", "torch", "--out", "folder")
    assert not list(tmp_path.glob("*folder*"))
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    assert extras.install("export") in one_line(nas, "run", "--to", "onnx")
    (macro_run / "result.json").unlink()
    assert "is not finished: nas retrain --resume" in one_line(nas, "run", "--to", "torch")


def test_users_operations(nas: Nas, cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.blocks import OPS

    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "def plain(channels, stride, affine):\n"
        "    return nn.Conv2d(channels, channels, 3, stride, 1)\n"
        "OPS = {'plain': plain}\n"
    )
    (tmp_path / "cell.txt").write_text(DILATED.replace("sandglass_3x3", "plain"))
    words = ("--channels", "4", "--cells", "3", "--epochs", "1", "--batch", "20", "--ops", "mine.py")
    status, _, err = nas("retrain", "cell.txt", "--preset", "quick", *words)
    assert status == 0, err
    init = ("retrain", "--preset", "quick", "--epochs", "1", "--batch", "20", "--init")
    run, asking = find("last", tmp_path / "runs").path, (("export", "last", "--to", "onnx"), ("evaluate", "last"))
    monkeypatch.setenv("NAS_TRUSTED", str(tmp_path / "trusted"))
    for given, works in (((), False), (("--ops", "mine.py"), True), ((), False)):
        for words in (*asking, ("cost", "last")):
            monkeypatch.setattr(plugins, "_registered", {})  # as in another process
            monkeypatch.delitem(OPS, "plain", raising=False)
            status, _, err = nas(*words, *given)
            assert status == (0 if works else 2) and works != ("name their file, --ops" in err), err
    assert nas("show", "last")[0] == 0, "to look at a cell its operations need not be known"
    for load in (library.load, library.features):
        with pytest.raises(UsageError, match="--ops"):
            load(run)
    for given, works in (((), False), (("--ops", "mine.py"), True)):
        monkeypatch.setattr(plugins, "_registered", {})
        monkeypatch.delitem(OPS, "plain", raising=False)
        status, _, err = nas(*init, str(run), *given)
        assert status == (0 if works else 2) and works != ("name their file, --ops" in err), err
    assert find("last", tmp_path / "runs").spec(TrainSpec).ops is not None, "to be resumed with"
    monkeypatch.setattr(plugins, "_registered", {})
    monkeypatch.delitem(OPS, "plain")
    (tmp_path / "trusted").write_text(f"{plugins.digest_of(tmp_path / 'mine.py')}  mine.py")
    library.load(run)
    library.features(run, ops="mine.py")
    assert "cannot hold" in one_line(nas, run.name, "--to", "torch", "--ops", "mine.py")
    monkeypatch.delitem(OPS, "plain")
