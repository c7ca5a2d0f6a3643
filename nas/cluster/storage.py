"""A run folder's copy on an object store: immutable numbered objects, then a small latest.json that names them."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nas.errors import UsageError
from nas.files import write

INDEX = "latest.json"


def is_url(storage: str) -> bool:
    """Whether it names an object store rather than a folder."""
    return "://" in storage


class Store:
    """One run's place on an object store.

    Args:
        url: of any file system that fsspec knows.

    Raises:
        UsageError: an unknown kind of store, or one whose package is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            from fsspec.core import url_to_fs
        except ImportError:
            raise UsageError(f"--storage {url} needs fsspec: pip install 'nas[cluster]'") from None
        try:
            self.system, self.root = url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"--storage {url}: {error}") from None

    def begin(self, folder: Path) -> None:
        """Puts a new run there; one that is there already is left as it is."""
        if not self._index()["files"]:
            self.push(folder)

    def push(self, folder: Path) -> None:
        """Writes what has changed in the folder as new objects, then the index; objects of the push before last go.

        Raises:
            UsageError: the store cannot be written; what was there stays valid.
        """
        before = self._index()
        number, files = before["number"] + 1, {}
        with self._said("write"):
            for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
                name, content = path.relative_to(folder).as_posix(), path.read_bytes()
                digest = hashlib.sha256(content).hexdigest()
                files[name] = before["files"].get(name)
                if files[name] is None or files[name]["sha256"] != digest:
                    files[name] = {"object": f"{number:09d}/{name}", "sha256": digest}
                    self._put(files[name]["object"], content)
            gone = {entry["object"] for entry in before["files"].values()} - {
                entry["object"] for entry in files.values()
            }
            index = {"number": number, "files": files, "gone": sorted(gone)}
            self._put(INDEX, json.dumps(index, indent=1).encode())
            for name in before["gone"]:
                self.system.rm_file(f"{self.root}/{name}")

    def pull(self, folder: Path) -> None:
        """Writes the run's files into a folder.

        Raises:
            UsageError: the store cannot be read, or an object is not what was written.
        """
        for name, entry in self._index()["files"].items():
            with self._said("read"):
                content = self.system.cat_file(f"{self.root}/{entry['object']}")
            if hashlib.sha256(content).hexdigest() != entry["sha256"]:
                raise UsageError(f"{self.url}/{entry['object']} is damaged")
            path = folder / name
            if not path.resolve().is_relative_to(folder.resolve()):
                raise UsageError(f"{self.url}/{INDEX}: {name} lies outside of the run")
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path, content)

    def _index(self) -> dict[str, Any]:
        with self._said("read"):
            if not self.system.exists(f"{self.root}/{INDEX}"):
                return {"number": 0, "files": {}, "gone": []}
            index: dict[str, Any] = json.loads(self.system.cat_file(f"{self.root}/{INDEX}"))
            return index

    def _put(self, name: str, content: bytes) -> None:
        path = f"{self.root}/{name}"
        self.system.makedirs(path.rpartition("/")[0], exist_ok=True)
        self.system.pipe_file(path, content)

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot {what} {self.url}: {error}") from None
