"""Users' own operations run only where they are named or trusted."""

from pathlib import Path

import pytest

from nas import plugins
from nas.blocks import OPS
from nas.errors import UsageError
from nas.run.spec import OpsFile

TEXT = """from pathlib import Path
from nas.blocks.darts import conv_3x3
Path(__file__).with_name('ran').touch()
OPS = {'own_operation': conv_3x3}
"""


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OpsFile:
    """A file as a run of another process remembers it."""
    (tmp_path / "mine.py").write_text(TEXT)
    monkeypatch.setattr(plugins, "_registered", {})
    monkeypatch.setitem(OPS, "own_operation", None)
    monkeypatch.delitem(OPS, "own_operation")
    monkeypatch.setenv("NAS_TRUSTED", str(tmp_path / "trusted"))
    return OpsFile(str(tmp_path / "mine.py"), plugins.digest_of(tmp_path / "mine.py"))


def ran(recorded: OpsFile) -> bool:
    return Path(recorded.path).with_name("ran").exists()


def test_never_unasked(recorded: OpsFile, tmp_path: Path) -> None:
    for list_of in ("", "0" * 64 + "  mine.py\n\n"):
        (tmp_path / "trusted").write_text(list_of)
        with pytest.raises(UsageError, match=f"--ops {recorded.path}, or trust it: .*{recorded.sha256}"):
            plugins.allow(recorded, None)
    assert not ran(recorded) and "own_operation" not in OPS
    assert plugins.allow(None, None) is None


def test_named(recorded: OpsFile) -> None:
    assert plugins.allow(recorded, Path(recorded.path)) == recorded and ran(recorded)
    del OPS["own_operation"]
    assert plugins.allow(recorded, None) == recorded, "it was named before in this process"
    assert "own_operation" in OPS


def test_trusted(recorded: OpsFile, tmp_path: Path) -> None:
    (tmp_path / "trusted").write_text(f"# mine\n{recorded.sha256}  anywhere/mine.py\n")  # as sha256sum writes
    assert plugins.allow(recorded, None) == recorded and ran(recorded)


def test_changed(recorded: OpsFile, tmp_path: Path) -> None:
    (tmp_path / "trusted").write_text(recorded.sha256)
    Path(recorded.path).write_text(f"{TEXT}\n")
    for given in (None, Path(recorded.path)):
        with pytest.raises(UsageError, match="not the file this run was begun with"):
            plugins.allow(recorded, given)
    Path(recorded.path).unlink()
    with pytest.raises(UsageError, match="No such file"):
        plugins.allow(recorded, None)
    assert not ran(recorded)


def test_the_list_is_the_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("NAS_TRUSTED", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert plugins.trust_list() == tmp_path / "nas" / "trusted"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert plugins.trust_list() == tmp_path / ".config" / "nas" / "trusted"
