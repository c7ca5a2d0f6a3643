"""A table of latencies: its sheet, its fit, what it refuses, what nas tune and nas cost read from it."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from nas.architecture import Architecture, of_network
from nas.commands import latencies
from nas.errors import UsageError
from nas.exporting import FORMS, Form
from nas.exporting.model import Model
from nas.latency import sheet
from nas.latency.sheet import Line
from nas.latency.table import LatencyTable, fit
from nas.run.documents import read
from nas.tuning.spec import TuneSpec

Nas = Callable[..., tuple[int, str, str]]
TOML = (
    'kind = "macro"\nabout = "small"\nnetwork = "mobilenet_v2"\n[settings]\n[search]\n'
    "width = [0.1, 0.2]\nexpansion = { low = 1, high = 10, step = 1 }\n"
)
RECIPE = ("--data", "digits", "--preset", "quick", "--epochs", "1", "--limit", "60", "--batch", "20", "--no-published")


@pytest.fixture(scope="module")
def stub() -> Iterator[None]:
    """A form that costs no time."""
    form = Form("model.bin", lambda *_: pytest.fail("not for runs"), lambda *_: Model({"model.bin": b"weights"}, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMS, "stub", form)
        yield


@pytest.fixture(scope="module")
def models(stub: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models of a small space, and its file."""
    folder = tmp_path_factory.mktemp("space")
    (folder / "small.toml").write_text(TOML)
    latencies.export_models(str(folder / "small.toml"), folder / "models", to="stub", image=(3, 16, 16), networks=20)
    return folder


@pytest.fixture
def exported(models: Path, tmp_path: Path) -> Path:
    """A copy of them."""
    shutil.copytree(models, tmp_path, dirs_exist_ok=True)
    return tmp_path / "models"


def measured(lines: list[Line]) -> list[Line]:
    """A device on which every operation takes as long as its signature, and a network 1 ms more than its parts."""
    numbers = {str(line.number): float(len(line.what)) for line in lines if not line.parts}
    filled = []
    for line in lines:
        time = 1 + sum(numbers[part] for part in line.parts.split()) if line.parts else float(len(line.what))
        filled.append(replace(line, mean_ms=time, deviation_ms=0.1, count=30))
    return [replace(filled[0], device="phone", soc="chip", runtime="ncnn", threads=1), *filled[1:]]


@pytest.fixture
def table(exported: Path, nas: Nas) -> Path:
    path = exported / "table.csv"
    path.write_text(sheet.text(measured(sheet.read(path))))
    status, out, err = nas("latency", "import", str(path))
    assert status == 0 and "20 whole networks" in out and "off by 0.0%" in out and "phone (chip)" in out, err
    return exported / "table.json"


def test_one_model_per_distinct_operation_and_input(exported: Path) -> None:
    lines = sheet.read(exported / "table.csv")
    operations = [line for line in lines if not line.parts]
    assert len({line.what for line in operations}) == len(operations) > 20
    assert {f"{line.model}.bin" for line in lines} == {file.name for file in exported.glob("*.bin")}
    networks = [line for line in lines if line.parts]
    assert len(networks) == 20 and {int(part) for line in networks for part in line.parts.split()} == set(
        range(1, len(operations) + 1)
    )


def test_a_stopped_export_goes_on_and_a_filled_table_stays(exported: Path, tmp_path: Path) -> None:
    names = sorted(exported.iterdir())
    names[0].unlink()
    names[1].write_bytes(b"done before")
    space = str(tmp_path / "small.toml")
    latencies.export_models(space, exported, to="stub", image=(3, 16, 16), networks=20)
    assert sorted(exported.iterdir()) == names and names[1].read_bytes() == b"done before"
    (exported / "table.csv").write_text(sheet.text(measured(sheet.read(exported / "table.csv"))))
    with pytest.raises(UsageError, match="with something else"):
        latencies.export_models(space, exported, to="stub", image=(3, 16, 16), networks=20)
    (exported / "table.csv").unlink()
    unwanted = patch.object(latencies, "Budgets", side_effect=AssertionError("networks are gone through"))
    with unwanted, pytest.raises(UsageError, match=r"is there already, without a table\.csv"):
        latencies.export_models(space, exported, to="stub")


def test_a_sum_is_the_networks_time(table: Path) -> None:
    network = of_network("mobilenet_v2", {"width": 0.1, "expansion": 6}, input=(3, 16, 16), classes=10)
    signatures = [part.signature for part in network.parts()]
    whole = read(table, LatencyTable)
    assert whole.predict(signatures) == pytest.approx(1 + sum(map(len, signatures)), rel=1e-6)
    with pytest.raises(UsageError, match="does not cover this: 1 operations are missing"):
        whole.predict([*signatures, "another"])


def test_parts_compute_the_network() -> None:
    """Their multiply-adds are the network's: nothing is left out or counted twice."""
    from nas.costs.count import count

    for name, settings in (("mobilenext", {"size": "b0"}), ("mobilenet_v3", {"size": "small"}), ("hbonet", {})):
        network = of_network(name, settings, input=(3, 32, 32), classes=10)
        assert sum(count(part.build(), part.input).madds for part in network.parts()) == network.madds()


def test_the_error_is_of_networks_that_the_fit_has_not_seen() -> None:
    sums = [float(index) for index in range(1, 21)]
    exact = fit(sums, [2 * one + 3 for one in sums])
    assert (exact.slope, exact.intercept_ms) == pytest.approx((2, 3)) and exact.error == pytest.approx(0, abs=1e-9)
    odd = fit(sums, [2 * one + 1003 + 1000 * (one == 20) for one in sums])
    assert odd.worst == pytest.approx(1000 / 2043) and odd.within_tenth < 1, "of the odd one by all the others"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda lines: lines[1:], "does not cover its space: 1 of"),
        (lambda lines: [replace(lines[0], mean_ms=None), *lines[1:]], "such as operation-"),
        (lambda lines: lines[:-1], "19 whole networks are measured"),
        (lambda lines: [replace(lines[0], threads=None), *lines[1:]], "threads"),
        (lambda lines: [lines[0], replace(lines[1], device="tablet"), *lines[2:]], "device"),
    ],
)
def test_refused(exported: Path, nas: Nas, change: Callable[[list[Line]], list[Line]], said: str) -> None:
    path = exported / "table.csv"
    path.write_text(sheet.text(change(measured(sheet.read(path)))))
    status, out, err = nas("latency", "import", str(path))
    assert status == 2 and said in err and len(err.splitlines()) == 1 and not out, err
    assert not (exported / "table.json").exists()


@pytest.mark.parametrize("value", ["-1", "soon", "inf"])
def test_what_is_no_time_is_refused_by_its_column(exported: Path, nas: Nas, value: str) -> None:
    path = exported / "table.csv"
    text = sheet.text(measured(sheet.read(path)))
    first = text.splitlines()[1]
    path.write_text(text.replace(first, first.replace(f",{len(sheet.read(path)[0].what)}.0,", f",{value},")))
    status, _, err = nas("latency", "import", str(path))
    assert status == 2 and "0.mean_ms" in err and len(err.splitlines()) == 1


def test_tune_takes_latency_from_the_table(table: Path, nas: Nas, tmp_path: Path) -> None:
    words = ("tune", "--space", str(tmp_path / "small.toml"), "--budget", "10M", "--mode", "cap", *RECIPE)
    words = (*words, "--trials", "2", "--no-control", "--latency-table", str(table))
    status, out, err = nas(*words, "--json")
    assert status == 0, err
    result = json.loads(out)
    assert result["studies"][0]["objectives"] == ["accuracy", "latency"]
    best = result["best"][0]
    network = of_network("mobilenet_v2", best["values"], input=(3, 16, 16), classes=10)
    whole = read(table, LatencyTable)
    assert best["latency_ms"] == pytest.approx(whole.predict([part.signature for part in network.parts()]))
    runs = sorted((tmp_path / "runs").iterdir())
    assert read(runs[-1] / "settings.json", TuneSpec).latency_table == whole
    for wrong, said in (
        (("--tune", "expansion", "--mode", "fill"), "does not cover"),
        (("--objectives", "accuracy"), "does not read it"),
    ):
        status, _, err = nas(*words, *wrong)
        assert status == 2 and said in err, err
    assert sorted((tmp_path / "runs").iterdir()) == runs


def test_cost_predicts_by_the_table(table: Path, nas: Nas) -> None:
    words = (
        "cost",
        "--space",
        "mobilenet_v2",
        "--width",
        "0.1",
        "--expansion",
        "6",
        "--resolution",
        "16",
        "--classes",
        "10",
    )
    status, out, err = nas(*words, "--stem", "cifar", "--latency-table", str(table))
    assert status == 0 and "on phone (chip), ncnn, 1 threads" in out, err
    status, out, err = nas(*words, "--stem", "cifar", "--latency-table", str(table), "--json")
    assert status == 0 and json.loads(out)["predicted_latency"]["ms"] > 1
    status, _, err = nas(*words, "--latency-table", str(table))
    assert status == 2 and "does not cover this" in err


def test_a_found_cell_has_no_table() -> None:
    with pytest.raises(UsageError, match="macro networks"):
        Architecture("cell", (3, 32, 32), 10, "cifar", {"genotype": {}, "cells": 20}).parts()


def test_a_device_fills_its_sheet(tmp_path: Path) -> None:
    from benchmarks.measure_latency import measure
    from nas.exporting.onnx import onnx_model

    network = of_network("mobilenet_v2", {"width": 0.1}, input=(3, 16, 16), classes=10)
    part = network.parts()[1]
    model = onnx_model(part.build(), part.input, {})
    (tmp_path / "operation-1-of-1.onnx").write_bytes(model.files["model.onnx"])
    (tmp_path / "table.csv").write_text(sheet.text([Line("operation-1-of-1", part.signature)]))
    measure(tmp_path, "board", "chip", threads=1, repeats=8)
    (filled,) = sheet.read(tmp_path / "table.csv")
    assert filled.mean_ms and filled.count == 8 and str(filled.runtime).startswith("onnxruntime")
    assert (filled.what, filled.device, filled.soc, filled.threads) == (part.signature, "board", "chip", 1)


def test_a_sheet_as_spreadsheets_write_it(tmp_path: Path) -> None:
    """A mark at its start; a network whose settings are all the published ones has an empty cell."""
    lines = [Line(model="network-01-of-20", what="", parts="1 2", mean_ms=1.5)]
    (tmp_path / "table.csv").write_text("\ufeff" + sheet.text(lines))
    assert sheet.read(tmp_path / "table.csv") == lines
