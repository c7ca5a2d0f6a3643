"""Help, examples, completion; a warning is printed once."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main

from nas.cli import SPINS, app, run
from nas.cli.examples import EXAMPLES
from tests.cli.test_bad_input import TEXT

Nas = Callable[..., tuple[int, str, str]]
GROUP = typer.main.get_command(app())
COMMANDS = GROUP.commands  # type: ignore[attr-defined]


@pytest.fixture(autouse=True)
def _wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("command", [name for name, each in COMMANDS.items() if not hasattr(each, "commands")])
def test_every_help_has_examples_that_are_read(command: str, nas: Nas) -> None:
    status, out, _ = nas(command, "-h")
    assert status == 0 and nas(command, "--help")[1] == out
    for example in EXAMPLES[command]:
        assert example in out
        nas_, name, *words = example.split()
        assert (nas_, name) == ("nas", command)
        COMMANDS[command].make_context(command, words)


def test_what_the_preset_quick_has_instead_is_shown(nas: Nas) -> None:
    assert "Passes over the training images. (paper: 600, quick: 4)" in nas("retrain", "-h")[1]
    assert "(paper: 50, quick: 6)" in nas("search", "-h")[1]
    assert "(paper: 0.9)" in nas("retrain", "-h")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(
    shell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("pets-s0", "paws-s1"):
        (tmp_path / "runs" / text).mkdir(parents=True)
        (tmp_path / "runs" / text / "settings.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    for words, begun, said in (("retrain", "pe", "pets-s0"), ("retrain --schedule", "one", "one-cycle"), *OTHERS):
        out = completed(shell, f"nas {words} {begun}", monkeypatch, capsys)
        assert said in out and "paws-s1" not in out and "exponential" not in out


OTHERS = (("evaluate", "la", "last"), ("search --resume", "pe", "pets-s0"), ("retrain --preset", "fa", "fast"))


def completed(shell: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """What a shell would offer behind a line."""
    for name, value in {
        "_NAS_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(line.split()) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit):
        run([])
    return capsys.readouterr().out


def test_a_warning_is_printed_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def command(*_: object, **__: object) -> None:
        for _ in range(3):
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.warn("the files differ", stacklevel=1)

    monkeypatch.setattr("nas.cli.app", lambda: command)
    for _ in range(2):
        run([])
        assert capsys.readouterr().err == "warning: the files differ\n"


def test_all_forms_of_a_cell_are_files_beside_you(nas: Nas, tmp_path: Path) -> None:
    (tmp_path / "cell.txt").write_text(TEXT)
    for form in ("svg", "dot", "graphml"):
        assert nas("show", "cell.txt", "--to", form) == (0, f"cell.{form}\n", "")
        assert (tmp_path / f"cell.{form}").stat().st_size > 500
    status, out, _ = nas("show", "cell.txt", "--to", "dot", "--out", "-")
    assert status == 0 and out.strip() == (tmp_path / "cell.dot").read_text().strip()


@pytest.mark.filterwarnings("default:mobilenext")
def test_cost_says_where_a_setting_is_not_the_published_codes(nas: Nas) -> None:
    for words, said in (("--reduction 2", "6,911,960"), ("--reduction 8", "a sixth of its output"), ("--width 1", "")):
        status, _, err = nas("cost", "--space", "mobilenext", *words.split())
        assert (status, bool(err)) == (0, bool(said)) and said in err


@pytest.mark.parametrize(("own", "spins"), [({}, SPINS), ({"GOMP_SPINCOUNT": "5"}, "5")])
def test_threads_sleep_soon(own: dict[str, str], spins: str) -> None:
    """OpenMP reads its variable where torch is imported: before that it must be there."""
    shown = "print('torch' in sys.modules, os.environ['GOMP_SPINCOUNT'])"
    code = f"import atexit, os, sys; from nas.cli import main; atexit.register(lambda: {shown}); main()"
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    command = [sys.executable, "-c", code, "--version"]
    done = subprocess.run(command, env=others | own, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == f"False {spins}"
