"""A folder with one of everything that a command line may name, and the commands up to where their work would begin."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, chdir, contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
from PIL import Image

from nas import cli
from nas.space import shipped
from tests.conftest import write_cifar

ROOT = Path(__file__).parents[1]
TINY = "--preset quick --data digits --limit 40 --epochs 1 --batch 8"
SMALL = "--channels 2 --cells 2 --chance 0 --final-channels 4 --final-cells 3"
COMMANDS = (
    f"search --space space.toml {TINY} {SMALL} --name found",
    f"retrain found {TINY} --channels 4 --cells 3 --name trained",
    "show found --to graphml --out cell.graphml",
    "cost found --save cell.json",
    "cost --space mobilenet_v2 --save macro.json",
)
STUDY = """
space = ["space.toml"]
seeds = [3]
controls = 1
data = "digits"
preset = "quick"
search = {limit = 40, epochs = 1, channels = 2, cells = 2, batch = 8, chance = 0}
retrain = {limit = 32, epochs = 1, batch = 16}
final = {channels = 4, cells = 3}
"""
OPERATIONS = """
from nas.blocks.darts import conv_3x3
OPS = {"mine": conv_3x3}
"""


def make(folder: Path) -> Path:
    """The folder: spaces, cells, networks, documents, images, a search and a training."""
    folder.mkdir()
    shutil.copy(ROOT / "small_space.toml", folder / "space.toml")
    for name in ("hbonet", "sandglass", "nasbench201", "s1"):
        shutil.copy(shipped() / f"{name}.toml", folder / f"my_{name}.toml")
    texts = (ROOT / "golden" / "genotypes.txt").read_text().split("DARTS_V2 = ")[1]
    files = {"cell.txt": texts.splitlines()[0], "study.toml": STUDY, "settings.toml": "epochs = 2\nbatch = 16\n"}
    files |= {"ops.py": OPERATIONS, "bad.json": "{}", "empty": "", "table.csv": "model,signature\n"}
    for name, text in files.items():
        (folder / name).write_text(text)
    for part, kind, number in ((p, k, n) for p in ("train", "test") for k in ("cat", "dog") for n in range(2)):
        path = folder / "images" / part / kind / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(path)
    write_cifar(folder / "data")
    with patch("nas.commands.searching.chance_of", lambda *_: None), chdir(folder):
        for line in COMMANDS:
            words = line.split()
            assert cli.run(words) == 0, line
    genotype = json.loads((folder / "runs" / "found" / "genotype.json").read_text())
    (folder / "genotype.json").write_text(json.dumps(genotype))
    return folder


def alone() -> None:
    """Has a process in such a folder use its data, a cache of its own, and no network."""
    os.environ |= {"NAS_DATA": str(Path.cwd() / "data"), "XDG_CACHE_HOME": str(Path.cwd() / "cache")}
    os.environ |= {name: "http://127.0.0.1:9" for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}


class Begun(BaseException):
    """Work would begin here."""


WORK = (
    *(f"nas.commands.{name}.carry_out" for name in ("searching", "retraining", "tuning", "studying", "deriving")),
    "nas.commands.resume.carry_out",
    "nas.commands.planning.arm_plan",
    "nas.commands.bench.compare",
    "nas.commands.latencies.Budgets",
    "torchvision.models._api.WeightsEnum.get_state_dict",
    "nas.doctor.registry.examine",
    "nas.cli.cost_output.measure",
    "nas.exporting.Trained",
    "nas.data.cifar._download",
    "nas.reports.nasbench201.read_table",
    "webbrowser.open",
)
"""Where trainings, measurements, conversions and downloads begin."""


@contextmanager
def before_work() -> Iterator[None]:
    """A context in which commands raise Begun instead of beginning what takes time."""
    with ExitStack() as stack:
        for name in WORK:
            stack.enter_context(patch(name, side_effect=Begun))
        yield
