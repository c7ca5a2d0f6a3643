"""The connection to Ray: what workers are given, and what is refused."""

import os
import time

import pytest

from nas.cluster import connect
from nas.cluster.connect import check_answers, connected
from nas.errors import UsageError


def environment() -> dict[str, str]:
    print("a worker's line")
    return dict(os.environ)


def test_workers_have_the_folder_of_data(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """So it is for all that use the connection; a second one of this process leaves the first one open."""
    monkeypatch.setenv("NAS_DATA", "/shared/data")
    for name in connect.VARIABLES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)  # what connected() sets goes with the test
    with connected("local", cpus=1):
        import ray

        with connected("local"):
            variables = ray.get(ray.remote(environment).remote())
        assert ray.is_initialized() and ray.cluster_resources()["CPU"] == 1
        assert [node["NodeManagerAddress"].startswith("127.") for node in ray.nodes()] == [True]
        time.sleep(1)  # for the worker's line to arrive
    assert not ray.is_initialized()
    assert variables["NAS_DATA"] == "/shared/data"
    out, err = capfd.readouterr()
    assert "a worker's line" in err and not out


@pytest.mark.parametrize("address", ["127.0.0.2:1", "ray://127.0.0.2:1", "http://127.0.0.2:1/"])
def test_where_nothing_answers(address: str) -> None:
    with pytest.raises(UsageError, match=f"--cluster {address}: nothing answers there"):
        check_answers(address)


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.extras.find_spec", lambda package: None)
    with pytest.raises(UsageError, match=r"--cluster needs .*ray.*pip install 'nas\[cluster\]'"), connected("local"):
        pass
