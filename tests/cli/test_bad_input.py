"""A user's mistakes: one line that names the value, the rule and the place, and exit status 2."""

import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch
from torchvision.models import get_model

Nas = Callable[..., tuple[int, str, str]]
pytestmark = pytest.mark.filterwarnings("ignore:data cifar10")
LONG = "x" * 300
TEXT = (Path(__file__).parents[1] / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1].splitlines()[0]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("serch", "serch"),
        ("search --spaec darts", "--spaec"),
        ("search --space dart", "did you mean darts"),
        ("search --space darts+sandglass:t=zero", "cannot be built"),
        ("search --epochs -1", "--epochs"),
        ("search --epochs many", "many"),
        ("search --lr nan", "--lr"),
        ("search --order 3", "--order"),
        ("search --data nothing", "nothing"),
        ("search --data cifar10 --batch 51", "--batch 51"),
        ("search --data cifar10 --limit 99 --batch 50", "--batch 50 is larger than the 49 images"),
        ("search --device tpu", "tpu"),
        ("search --threads 0", "--threads 0"),
        ("search --seeds 1,x", "--seeds"),
        ("search --seeds 1,1", "--seeds"),
        ("search --preset quik", "did you mean quick"),
        ("search --data-root nowhere", "nowhere"),
        ("search --settings no.toml", "no.toml"),
        (f"search --space {LONG}", "File name too long"),
        (f"search --data {LONG}", "File name too long"),
        (f"search --data-root {LONG}", "File name too long"),
        (f"runs --runs {LONG}", "File name too long"),
        (f"retrain {LONG}", "File name too long"),
        (f"tune --genotype {LONG} --budget 1M --data digits", "File name too long"),
        ("search --space a\udcffb", r"'a\udcffb' is no UTF-8 text"),
        ("search --lr 1e308", "--lr"),
        ("search --weight-decay 1e308", "--weight-decay"),
        (f"search --epochs {10**30}", "--epochs"),
        ("search --space darts+ir+ir:t=3", "+ir:t=3: inverted_residual_3x3 is in the space already"),
        ("search --space darts+ir:t=3,t=4", "each once"),
        ("search --ops no.py", "no.py"),
        ("search --resume nothing", "nothing"),
        ("search --image-size 32", "--image-size"),
        ("search --runs /dev/null/runs --data digits --preset quick", "cannot make run folder"),
        ("retrain", "needs a run"),
        ("retrain nothing", "nothing"),
        ("retrain --init half.pth --channels 8", "--channels needs a RUN"),
        ("retrain cell.txt --validation 100", "0 images left"),
        ("retrain cell.txt --channels 0", "channels"),
        ("retrain cell.txt --preset quik", "did you mean quick"),
        ("retrain cell.txt --momentum 0 --nesterov", "--momentum must be above 0"),
        ("retrain cell.txt --accumulate 49", "--accumulate 49"),
        ("retrain cell.txt ./cell.txt", "./cell.txt is named twice"),
        ("retrain cell.txt --preset fast --warmup-epochs 3", "it rises by itself"),
        ("cost cell.txt --save .", "the name of no file"),
        ("cost cell.txt --to csv --latency", "without milliseconds"),
        ("cost /etc/passwd", "not a genotype"),
        ("cost --list --space hbonet", "name no network beside it"),
        ("cost --list --width 0.5", "name no network beside it"),
        (f"tune --space hbonet --budget {'9' * 400}", "--budget"),
        (f"tune --space hbonet --budget 1M --data digits --set contraction={'[' * 9999}", "contraction"),
        ("tune --space hbonet --budget 1M --data digits --set contraction=NaN", "contraction"),
        ("retrain bad.json", "bad.json"),
        ("retrain half.json", "half.json"),
        ("evaluate last", "no runs"),
        ("show nothing", "nothing"),
        ("show cell.txt --to gif", "gif"),
        ("show cell.txt --to png --out no/such/folder.png", "cannot write"),
        ("show bad.json", "bad.json"),
        ("show --diff cell.txt cell.txt --to csv", "drawn as svg"),
        ("show --diff cell.txt cell.txt --figure curves", "nas compare"),
        ("report", "(nas report --help)"),
        ("compare cell.txt --out x.png", "--figure"),
    ],
)
def test_one_line_and_status_2(line: str, said: str, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(TEXT)
    (tmp_path / "bad.json").write_text("{}")
    if "half.pth" in line:
        torch.save(get_model("mobilenet_v2", width_mult=0.35).state_dict(), tmp_path / "half.pth")
    (tmp_path / "half.json").write_text('{"format": "nas/architecture/1", "kind": "ce')
    status, out, err = nas(*line.split())
    lines = [text for text in err.splitlines() if not text.startswith("warning:")]
    assert status == 2, err
    assert len(lines) == 1 and said in lines[0] and "Traceback" not in err
    assert not out
    assert not list(tmp_path.glob("runs/*")), "nothing is left behind"


def test_resume_takes_no_other_settings(nas: Nas) -> None:
    status, _, err = nas("search", "--resume", "last", "--epochs", "3")
    assert status == 2 and "--epochs" in err


def test_settings_file(nas: Nas, tmp_path: Path) -> None:
    for content, said in (("epochs = ", "mine.toml"), ("epoch = 3", "epoch"), ("epochs = 'x'", "--epochs")):
        (tmp_path / "mine.toml").write_text(content)
        status, _, err = nas("search", "--settings", "mine.toml")
        assert status == 2 and said in err


BUILD = "from torch import nn\nOPS = {'mine': lambda channels, stride, affine: %s}"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("OPS = {", "it fails: SyntaxError"),
        ("OPS = {}", "it must define OPS"),
        ("x = 1", "it must define OPS"),
        ("raise OSError('no')", "it fails: OSError: no"),
        ("import sys; sys.exit(0)", "it fails: SystemExit: 0"),
        ("raise KeyboardInterrupt", "it fails: KeyboardInterrupt"),
        ("raise BaseException", "it fails: BaseException"),
        ("OPS = {'none': print}", "none is already an operation"),
        ("OPS = {3: print}", "3 is no operation's name"),
        ("OPS = {'mine': lambda: 0}", "mine cannot be built at stride 1: TypeError"),
        (BUILD % "exit()", "mine cannot be built at stride 1: SystemExit"),
        (BUILD % "None", "mine: NoneType is built at stride 1"),
        (BUILD % "nn.Identity()", "mine makes (2, 16, 8, 8) of (2, 16, 8, 8) at stride 2, not (2, 16, 4, 4)"),
        (BUILD % "nn.Conv2d(channels, 9, 1, stride)", "mine makes (2, 9, 8, 8)"),
        (BUILD % "nn.Linear(3, 3)", "mine fails at stride 1: RuntimeError"),
    ],
)
def test_files_of_operations(content: str, said: str, nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(content)
    status, _, err = nas("search", "--data", "digits", "--ops", "mine.py")
    assert status == 2 and err.startswith("nas: --ops mine.py: ") and said in err and err.count("\n") == 1
    assert not list(tmp_path.glob("runs/*"))


def test_one_class(nas: Nas, tmp_path: Path) -> None:
    from tests.conftest import write_cifar

    root = write_cifar(tmp_path / "one", classes=1)
    meta = root / "cifar-10-batches-py" / "batches.meta"
    import pickle

    meta.write_bytes(pickle.dumps({b"label_names": [b"all"]}, protocol=2))
    status, _, err = nas("search", "--data-root", str(root))
    assert status == 2 and "at least two" in err


@pytest.mark.measuring
def test_more_than_fits_is_refused(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    from nas.train import preflight

    peaks = itertools.count(2**30, 2**20)  # the process' own depends on what ran in it before
    monkeypatch.setattr(preflight, "peak", lambda device: next(peaks))
    monkeypatch.setattr(preflight, "free_memory", lambda device: 0)
    status, _, err = nas("search", "--data", "digits", "--preset", "quick", "--batch", "128", "--limit", "600")
    assert status == 2 and "fits" in err.splitlines()[-1]


def test_json_holds_nothing_else(nas: Nas) -> None:
    status, out, _ = nas("runs", "--json")
    assert status == 0 and json.loads(out) == []


def test_a_question_that_nobody_answers(nas: Nas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "nas" / "folders").mkdir(parents=True)
    (tmp_path / "nas" / "folders" / "images.u8").write_bytes(b"x")
    monkeypatch.setattr("sys.stdin", io.StringIO())
    status, out, err = nas("clean", "--caches")
    assert out.endswith("\n") and err.startswith("nas: ")
    assert status == 2 and "add --yes" in err and (tmp_path / "nas" / "folders" / "images.u8").exists()


def test_what_is_no_file_is_not_replaced(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(TEXT)
    (tmp_path / "null").symlink_to("/dev/null")
    assert nas("show", "cell.txt", "--to", "dot", "--out", "null")[0] == 0
    assert (tmp_path / "null").is_symlink() and not (tmp_path / "null").is_file()


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("could not create a primitive"),
        ImportError("x.so: failed to map segment from shared object"),
    ],
)
def test_memory_that_runs_out(error: Exception, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.doctor.registry.examine", Mock(side_effect=error))
    status, _, err = nas("doctor")
    assert status == 2 and err == f"nas: memory ran out ({type(error).__name__}); --resume goes on from what is saved\n"
