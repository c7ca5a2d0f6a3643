"""The connection to Ray: what workers are given, and what is refused."""

import os
import re
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from nas.cluster.connect import check_answers, connected
from nas.errors import UsageError
from nas.extras import install

PROGRAM = """
import os, time
from nas.cluster.connect import connected
from tests.cluster.test_connect import listening

def work():
    print("a worker's line")
    return os.environ["NAS_DATA"]

with connected("local", cpus=1):
    import ray
    with connected("local"):
        assert ray.get(ray.remote(work).remote()) == "/shared/data"
    assert ray.is_initialized() and ray.cluster_resources()["CPU"] == 1
    assert listening() == {"127.0.0.1"}, listening()
    time.sleep(2)  # for the worker's line to arrive
assert not ray.is_initialized()
"""
"""A process of its own: in one where Ray was started, Ray keeps what it once read of the environment."""


def listening() -> set[str]:
    """The addresses at which this process and those that it began listen."""
    parents = {int(path.name): parent_of(path) for path in Path("/proc").glob("[0-9]*")}
    own, before = {os.getpid()}, set[int]()
    while own != before:
        own, before = own | {pid for pid, parent in parents.items() if parent in own}, own
    sockets = {name for pid in own for name in links_of(Path(f"/proc/{pid}/fd"))}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                last = bytes.fromhex(fields[1].partition(":")[0][-8:])
                found.add(".".join(map(str, reversed(last))))
    return found


def parent_of(folder: Path) -> int:
    with suppress(OSError):  # it has just ended
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def links_of(folder: Path) -> list[str]:
    with suppress(OSError):
        return [os.readlink(path) for path in folder.iterdir()]
    return []


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_a_connection() -> None:
    """Workers have the folder of data; a second connection leaves the first one open; stdout is for results."""
    environment = {**os.environ, "NAS_DATA": "/shared/data", "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", PROGRAM]
    process = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr
    assert "a worker's line" in process.stderr and not process.stdout


@pytest.mark.parametrize("address", ["127.0.0.2:1", "ray://127.0.0.2:1", "http://127.0.0.2:1/"])
def test_where_nothing_answers(address: str) -> None:
    with pytest.raises(UsageError, match=f"--cluster {address}: nothing answers there"):
        check_answers(address)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.extras.find_spec", lambda package: None)
    with (
        pytest.raises(UsageError, match=r"--cluster needs .*ray.*" + re.escape(install("cluster"))),
        connected("local"),
    ):
        pass
