"""The connection to a Ray cluster, which trainings and trials share."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from logging import ERROR
from typing import Any

from nas.errors import UsageError
from nas.extras import need

VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DEDUP_LOGS": "0",  # else epoch lines of several trainings count as one repeated
    "RAY_OVERRIDE_JOB_RUNTIME_ENV": "1",  # else NAS_DATA given to a job conflicts with itself
    "RAY_task_oom_retries": "5",  # else a task that takes too much memory is begun again for ever
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a task without a GPU begins with a warning
}
"""Ray's own settings, where the user has not set them."""
ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
"""Ray reads it when it is imported: with "0" its processes listen at 127.0.0.1 alone, as on those two systems."""
LOOPBACK = "127.0.0.1"
SECOND = "127.0.0.2"
"""Of this machine too, where Ray was imported without :data:`ALONE`: it takes 127.0.0.1 for the outer address then."""


@contextmanager
def connected(address: str, cpus: int | None = None) -> Iterator[None]:
    """A connection to a cluster; where this process has one already, that one, which is left open.

    What workers and Ray itself print comes on stderr: stdout is for results.

    Args:
        address: "local" starts a cluster on this machine, for this process alone; "auto" is the one that this machine
            is part of; else ``host:port``.
        cpus: of a cluster that is started here; None: the machine's.

    Raises:
        UsageError: Ray is not installed, or there is no cluster.
    """
    need("--cluster", "cluster", "ray")
    for name, value in VARIABLES.items():
        os.environ.setdefault(name, value)
    if address == "local" and "ray" not in sys.modules:
        os.environ[ALONE] = "0"
    import ray

    with redirect_stdout(sys.stderr):
        if ray.is_initialized():
            yield
            return
        _initialise(address, cpus)
        try:
            yield
        finally:
            ray.shutdown()


def _initialise(address: str, cpus: int | None) -> None:
    import ray

    options: dict[str, Any] = {}
    if address == "local":
        options = {"num_cpus": cpus, "object_store_memory": 100 * 2**20}
        if ray.util.get_node_ip_address() != LOOPBACK:
            options["_node_ip_address"] = SECOND
    elif os.environ.get(ALONE) == "0":
        raise UsageError(f"--cluster {address}: this process has had a cluster of its own: it takes another process")
    else:
        check_answers(address)
    try:
        ray.init(address, runtime_env=runtime_environment(), include_dashboard=False, logging_level=ERROR, **options)
    except Exception as error:  # what Ray raises itself when a node does not start
        raise UsageError(f"--cluster {address}: {str(error).splitlines()[0]}") from None


def runtime_environment() -> dict[str, dict[str, str]]:
    """What workers and jobs find in their environment: this process' folder of data, as seen from anywhere."""
    folder = os.environ.get("NAS_DATA")
    return {"env_vars": {"NAS_DATA": os.path.abspath(folder)} if folder else {}}


def check_answers(address: str) -> None:
    """Raises UsageError where nothing listens at ``[scheme://]host:port``; Ray itself would wait for minutes."""
    host, _, port = address.rpartition("://")[2].rstrip("/").rpartition(":")
    if not host or not port.isdigit():
        return  # auto, or a name that Ray knows
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise UsageError(f"--cluster {address}: nothing answers there ({error.strerror or error})") from None
