"""Signals at bad moments."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from nas import cli
from nas.errors import Interrupted, UsageError
from nas.train.stopping import interrupting

MODULE = """
import os, signal
os.kill(os.getpid(), signal.{name})
whole = sum(range(100))
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_an_import_comes_to_its_end_first(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiled module makes an ImportError of what a handler raises."""
    (tmp_path / f"kills_itself_by_{name}.py").write_text(MODULE.format(name=name))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Interrupted) as stopped, interrupting():
        importlib.import_module(f"kills_itself_by_{name}")
        time.sleep(60)
    assert stopped.value.signal == getattr(signal, name)
    assert sys.modules[f"kills_itself_by_{name}"].whole == 4950
    with pytest.raises(Interrupted), interrupting():
        os.kill(os.getpid(), getattr(signal, name))


@pytest.mark.parametrize("error", [UsageError, RuntimeError])
def test_what_fails_after_a_signal_is_an_interruption(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader of tensors, compiled, has made an error of its own of it."""

    def read(*_: object, **__: object) -> None:
        try:
            with interrupting():
                os.kill(os.getpid(), signal.SIGTERM)
        except Interrupted:
            raise error("init.safetensors cannot be read") from None

    with monkeypatch.context() as patches:
        patches.setattr(cli, "app", lambda: read)
        assert cli.run(["show"]) == 143
    assert capsys.readouterr().err.startswith("interrupted: ")
    assert cli.run(["show", "nowhere"]) == 2
