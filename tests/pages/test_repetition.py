"""The command that a report prints leads to the settings it was printed for."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from nas import cli
from nas.execution import Execution
from nas.methods import METHODS
from nas.pages.records import record_of
from nas.pages.repetition import repetition
from nas.presets import resolve_search
from nas.run import names
from nas.run.folder import Run, create
from nas.run.spec import SearchSpec, Size
from nas.settings import SearchSettings, TrainSettings
from nas.space import load
from tests.pages import made

CHANGES: list[dict[str, Any]] = [
    *({"method": method} for method in METHODS),
    {"space": "nasbench201", "cells": 6},
    {"partial": 2, "channels": 8, "data": "digits"},
    {"max_madds": "400M", "max_params": "3M"},
    {"method": "p-darts", "epochs": 20, "seed": 3, "lr": 0.1},
    {"method": "drnas", "alphas_from": 2, "cutout": True, "edge_weights": False},
]


class Stop(Exception):
    """Ends a command before it works."""


def run_with(run: Run, function: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command that the report prints would call the function with."""
    seen: dict[str, Any] = {}

    def stop(*arguments: Any, **given: Any) -> None:
        seen.update(given, arguments=arguments)
        raise Stop

    monkeypatch.setattr(function, stop)
    line = next(line for line in repetition(record_of(run)) if line.startswith("nas "))
    with pytest.raises(Stop):
        cli.run(shlex.split(line)[1:])
    return seen


@pytest.mark.parametrize("preset", ["quick", "paper"])
@pytest.mark.parametrize("changes", CHANGES, ids=str)
def test_a_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str, changes: dict[str, Any]) -> None:
    settings = resolve_search(preset, changes)
    spec = SearchSpec(settings=settings, execution=Execution("cpu", 1), preset=preset, seeds=(4, 5), final=Size(10, 6))
    run = create(tmp_path, "search", spec)
    run.write(names.SPACE, load(settings.space).to_toml())
    seen = run_with(run, "nas.commands.searching.search", monkeypatch)
    assert seen["arguments"] == (settings,) and seen["preset"] == preset and seen["seeds"] == [4, 5]
    assert (seen["final_channels"], seen["final_cells"]) == (10, 6) and seen["execution"].threads == 1


@pytest.mark.parametrize("method", METHODS)
def test_a_method_is_not_spelt_out(tmp_path: Path, method: str) -> None:
    run = made.search(tmp_path, resolve_search("paper", {"method": method, "data": "digits"}), epochs=0, preset="paper")
    (line,) = [line for line in repetition(record_of(run)) if line.startswith("nas ")]
    flags = {word for word in shlex.split(line) if word.startswith("--")}
    assert flags <= {"--preset", "--data", "--method", "--device", "--threads", "--final-channels", "--final-cells"}


def test_a_retraining(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = TrainSettings(data="digits", epochs=3, nesterov=False, drop_path=0.0, label_smoothing=0.05)
    run = made.trainings(tmp_path, {0: 0.9, 1: 0.8}, settings)
    seen = run_with(run, "nas.commands.inheritance.retrain", monkeypatch)
    assert seen["arguments"][1] == settings and seen["seeds"] == [0, 1]
    assert seen["arguments"][0][0].source == str(run.path / names.ARCHITECTURE)


@pytest.mark.parametrize(
    "words", [("--set", "identity=1/2", "--tune", "reduction"), ("--mode", "cap"), ("--sampler", "random")]
)
def test_a_tuning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("nas.commands.tuning.continue_tuning", lambda run, execution: (seen.append(run), stop()))

    def stop() -> None:
        raise Stop

    arguments = ["tune", "--space", "mobilenext", "--budget", "2M", "--data", "digits", *words]
    with pytest.raises(Stop):
        cli.run([*arguments, "--runs", str(tmp_path)])
    line = next(line for line in repetition(record_of(seen[0])) if line.startswith("nas "))
    with pytest.raises(Stop):
        cli.run([*shlex.split(line)[1:], "--runs", str(tmp_path)])
    first, second = ((run.path / names.SETTINGS).read_text() for run in seen)
    assert first == second


def test_a_tuning_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which the run keeps, whatever has become of the file."""
    seen: list[Run] = []

    def stop(run: Run, _: Execution) -> None:
        seen.append(run)
        raise Stop

    monkeypatch.setattr("nas.commands.tuning.continue_tuning", stop)
    pairs = [("sandglass_3x3", 0), ("skip_connect", 1)]
    text = f"Genotype(normal={pairs}, normal_concat=[2], reduce={pairs}, reduce_concat=[2])"
    (tmp_path / "cell.txt").write_text(text)
    words = ["tune", "--genotype", str(tmp_path / "cell.txt"), "--budget", "5M", "--data", "digits", "--set", "cells=3"]
    with pytest.raises(Stop):
        cli.run([*words, "--runs", str(tmp_path)])
    (tmp_path / "cell.txt").unlink()
    line = next(line for line in repetition(record_of(seen[0])) if line.startswith("nas "))
    with pytest.raises(Stop):
        cli.run([*shlex.split(line)[1:], "--runs", str(tmp_path)])
    first, second = ((run.path / names.SETTINGS).read_text() for run in seen)
    assert first == second


def test_settings_are_options(tmp_path: Path) -> None:
    assert not any("None" in line for line in repetition(record_of(made.search(tmp_path, SearchSettings()))))
