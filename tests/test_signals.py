"""Signals at bad moments."""

import importlib
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from nas.errors import Interrupted
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
