"""A run folder's copy on an object store: immutable numbered objects, then a small latest.json that names them."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic.dataclasses import dataclass

from nas.errors import UsageError
from nas.extras import need
from nas.files import write
from nas.run import names
from nas.run.documents import DOCUMENT, as_json, parse

INDEX = "latest.json"


@dataclass(frozen=True, config=DOCUMENT)
class Object:
    """The content of a file: its object's name on the store, and its SHA-256."""

    object: str
    sha256: str


@dataclass(frozen=True, config=DOCUMENT)
class Index:
    """What is on the store.

    Args:
        number: of the push that wrote it.
        files: by their names in the run folder.
        gone: objects that no file has any more, which the next push removes.
    """

    number: int
    files: dict[str, Object]
    gone: tuple[str, ...]


def is_url(storage: str) -> bool:
    """Whether it names an object store rather than a folder."""
    return "://" in storage


def url_of(folder: Path, storage: str) -> str:
    """The URL of a run folder's copy; empty where the storage is no object store."""
    return f"{storage.rstrip('/')}/{folder.parent.name}/{folder.name}" if is_url(storage) else ""


@contextmanager
def copies(folders: Sequence[Path], storage: str) -> Iterator[None]:
    """A context in which run folders have their copies on an object store, from which they are renewed at its end.

    Raises:
        UsageError: as of :class:`Store`.
    """
    stores = {folder: Store(url_of(folder, storage)) for folder in folders if is_url(storage)}
    for folder, store in stores.items():
        store.begin(folder)
    try:
        yield
    finally:
        for folder, store in stores.items():
            store.pull(folder)


def storage_of(
    runs: Path | None, cluster: str | None, workers: int | None, storage: str | None
) -> tuple[Path | None, str]:
    """(Folder of run folders, URL of the object store or nothing): ``--storage`` is one or the other.

    Raises:
        UsageError: options that only a cluster can honour, or two folders.
    """
    if not cluster and (workers or storage):
        raise UsageError(f"--{'workers' if workers else 'storage'} needs --cluster local, or a cluster's address")
    if not storage or is_url(storage):
        return runs, storage or ""
    if runs:
        raise UsageError(f"--storage {storage} is the folder of run folders: --runs cannot be given with it")
    return Path(storage), ""


class Store:
    """One run's place on an object store.

    Args:
        url: of any file system that fsspec knows.

    Raises:
        UsageError: an unknown kind of store, or one whose package is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        need(f"--storage {url}", "cluster", "fsspec")
        from fsspec.core import url_to_fs

        try:
            self.system, self.root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"--storage {url}: {error}") from None

    def begin(self, folder: Path) -> None:
        """Puts a new run there; one that is there already is left as it is.

        Raises:
            UsageError: another run of that name is there.
        """
        there = self._index().files
        if not there:
            self.push(folder)
        elif there[names.SETTINGS].sha256 != hashlib.sha256((folder / names.SETTINGS).read_bytes()).hexdigest():
            raise UsageError(f"{self.url} is another run's: choose another name for {folder}")

    def push(self, folder: Path) -> None:
        """Writes what has changed in the folder as new objects, then the index; objects of the push before last go.

        Raises:
            UsageError: the store cannot be written; what was there stays valid.
        """
        before = self._index()
        number, files = before.number + 1, dict[str, Object]()
        with self._errors("write"):
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                digest, entry = hashlib.sha256(content).hexdigest(), before.files.get(name)
                if entry is None or entry.sha256 != digest:
                    entry = Object(f"{number:09d}/{name}", digest)
                    self._put(entry.object, content)
                files[name] = entry
            gone = {each.object for each in before.files.values()} - {each.object for each in files.values()}
            index = as_json(Index(number, files, tuple(sorted(gone))))
            self._put(INDEX, json.dumps(index, indent=1).encode())
            for name in before.gone:
                self.system.rm_file(f"{self.root}/{name}")

    def pull(self, folder: Path) -> None:
        """Writes the run's files into a folder.

        Raises:
            UsageError: the store cannot be read, or an object is not what was written.
        """
        for name, entry in self._index().files.items():
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UsageError(f"{self.url}/{INDEX}: {name} lies outside of the run")
            with self._errors("read"):
                content = self.system.cat_file(f"{self.root}/{entry.object}")
            if hashlib.sha256(content).hexdigest() != entry.sha256:
                raise UsageError(f"{self.url}/{entry.object} is damaged")
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, content)

    def _index(self) -> Index:
        with self._errors("read"):
            try:
                text = self.system.cat_file(f"{self.root}/{INDEX}").decode()
            except FileNotFoundError:
                return Index(0, {}, ())
        return parse(text, Index, f"{self.url}/{INDEX}")

    def _put(self, name: str, content: bytes) -> None:
        path = f"{self.root}/{name}"
        self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.system.pipe_file(path, content)

    @contextmanager
    def _errors(self, verb: str) -> Iterator[None]:
        """A context whose errors are a user's: the store cannot be read or written."""
        try:
            yield
        except UsageError:
            raise
        except Exception as error:  # each kind of store has errors of its own
            raise UsageError(f"cannot {verb} {self.url}: {error}") from None
