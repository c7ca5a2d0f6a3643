"""The copy of a run on an object store: file:// and memory:// of fsspec."""

from pathlib import Path

import pytest

from nas.cluster.storage import Store
from nas.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    (tmp_path / "run" / "settings.json").write_text("{}")
    (tmp_path / "run" / "checkpoint" / "1.pt").write_bytes(b"one")
    return tmp_path / "run"


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    return Store(f"{request.param}://{tmp_path}/store/run")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_pushed_is_pulled(store: Store, folder: Path, tmp_path: Path) -> None:
    store.begin(folder)
    (folder / "checkpoint" / "2.pt").write_bytes(b"two")
    (folder / "checkpoint" / "1.pt").unlink()
    (folder / ".torn.part").write_bytes(b"half")
    store.push(folder)
    store.begin(folder)  # changes nothing: it is there
    store.pull(tmp_path / "again")
    assert files(tmp_path / "again") == {"settings.json": b"{}", "checkpoint/2.pt": b"two"}


def test_another_run_of_the_same_name_is_not_taken_for_it(store: Store, folder: Path) -> None:
    store.begin(folder)
    (folder / "settings.json").write_text('{"seed": 1}')
    with pytest.raises(UsageError, match="is another run's: choose another name"):
        store.begin(folder)


class CloudError(Exception):
    """As packages of stores raise, which is no OSError."""


def test_a_stores_own_errors_are_one_line(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise CloudError("Unable to locate credentials")

    monkeypatch.setattr(store.system, "cat_file", fail)
    with pytest.raises(UsageError, match=r"cannot read .*: Unable to locate credentials"):
        store.begin(folder)


def test_objects_are_never_written_again(store: Store, folder: Path) -> None:
    store.push(folder)
    (folder / "checkpoint" / "1.pt").write_bytes(b"uno")
    store.push(folder)
    kept = sorted(name.partition("store/run/")[2] for name in store.system.find(store.root))
    assert [name for name in kept if name.endswith("1.pt")] == [
        "000000001/checkpoint/1.pt",
        "000000002/checkpoint/1.pt",
    ]
    assert sum(name.endswith("settings.json") for name in kept) == 1, "what has not changed is not sent again"
    store.push(folder)
    assert not store.system.exists(f"{store.root}/000000001/checkpoint/1.pt"), "what nothing names goes, a push later"


def test_a_damaged_object_is_named(folder: Path, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    store.push(folder)
    (tmp_path / "store" / "000000001" / "checkpoint" / "1.pt").write_bytes(b"eno")
    with pytest.raises(UsageError, match=r"1\.pt is damaged"):
        store.pull(tmp_path / "again")


def test_an_index_cannot_write_elsewhere(folder: Path, tmp_path: Path) -> None:
    store = Store(f"file://{tmp_path}/store")
    store.push(folder)
    index = tmp_path / "store" / "latest.json"
    index.write_text(index.read_text().replace('"settings.json": {', '"../settings.json": {'))
    with pytest.raises(UsageError, match="outside"):
        store.pull(tmp_path / "again")


@pytest.mark.parametrize("url", ["gopher://there", "s4://bucket"])
def test_an_unknown_store(url: str) -> None:
    with pytest.raises(UsageError, match="--storage"):
        Store(url)


def test_a_store_that_cannot_be_written(folder: Path) -> None:
    with pytest.raises(UsageError, match="cannot write"):
        Store("file:///proc/self/nas").push(folder)


def test_a_store_that_cannot_be_read_is_not_empty(store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run's objects would be written over where the network fails."""

    def refuse(path: str, **_: object) -> None:
        raise PermissionError("denied")

    store.push(folder)
    for name in ("cat_file", "info"):
        monkeypatch.setattr(store.system, name, refuse)
    with pytest.raises(UsageError, match=r"cannot read .*denied"):
        store.begin(folder)


@pytest.mark.parametrize("text", ["{", '{"number": 1, "gone": []}', '{"number": "1", "files": {}, "gone": []}'])
def test_a_damaged_index_is_named(folder: Path, tmp_path: Path, text: str) -> None:
    store = Store(f"file://{tmp_path}/store")
    store.push(folder)
    (tmp_path / "store" / "latest.json").write_text(text)
    with pytest.raises(UsageError, match=r"store/latest\.json: "):
        store.pull(tmp_path / "again")
