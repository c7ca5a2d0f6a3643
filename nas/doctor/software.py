"""Versions, the compiler, Ray."""

import os
import platform
import shlex
import shutil
import socket
import subprocess
from contextlib import closing
from importlib import metadata

from packaging.requirements import Requirement

from nas.cluster.connect import LOOPBACK
from nas.doctor.check import Case, Line, broken, ok, warning
from nas.extras import DISTRIBUTION, install
from nas.run.environment import code

EXTRAS = ("cluster", "coreml", "executorch", "export", "lookup", "ncnn", "tensorboard", "tune")
PORTS = {6379: "ray start", 8265: "its dashboard"}
"""Ports that a cluster's first node opens."""


def versions(case: Case) -> Line:
    """Python and the packages that are always needed."""
    text, required = f"{code()}, Python {platform.python_version()}", requirements()
    if not required:
        return warning(f"{text}; nas itself is not installed, so what it needs is not known", "pip install .")
    wrong = unmet([each for each in required if not each.marker or each.marker.evaluate({"extra": ""})])
    return broken(f"{text}: {', '.join(wrong)}", f"pip install --upgrade {DISTRIBUTION}") if wrong else ok(text)


def extras(case: Case) -> Line:
    """Packages that only some commands need: one of the wrong version is worse than none."""
    marked = [(each, each.marker) for each in requirements() if each.marker]
    wrong = {name: unmet([each for each, marker in marked if marker.evaluate({"extra": name})]) for name in EXTRAS}
    old = [line for lines in wrong.values() for line in lines if not line.endswith("missing")]
    if old:
        return warning(", ".join(dict.fromkeys(old)), "pip install --upgrade the package, or the extra that needs it")
    absent = [name for name, lines in wrong.items() if lines]
    return ok(f"not installed: {install(','.join(absent))}" if absent else "all are installed")


def requirements() -> list[Requirement]:
    """What the installed package asks for; nothing where it is run without being installed."""
    try:
        return [Requirement(text) for text in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return []


def unmet(required: list[Requirement]) -> list[str]:
    """A line for each requirement that is missing or of another version."""
    lines = []
    for each in required:
        try:
            version = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            lines.append(f"{each.name} is missing")
            continue
        if not each.specifier.contains(version, prereleases=True):
            lines.append(f"{each.name} {version} is not {each.specifier}")
    return lines


def compiler(case: Case) -> Line:
    """The C++ compiler, which the kernels for a CPU need."""
    command = shlex.split(os.environ.get("CXX", "c++"))
    if not command:
        return warning("CXX is empty: no kernels are compiled", "unset CXX: searches on a CPU then take half the time")
    path = shutil.which(command[0])
    if path is None:
        return warning(f"there is no {command[0]}", "install g++ or clang++: searches on a CPU then take half the time")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    return ok(f"{path}: {said.splitlines()[0] if said else 'says no version'}")


def ray(case: Case) -> Line:
    """Ray, which --cluster needs, and whether its ports can be had."""
    try:
        version = metadata.version("ray")
    except metadata.PackageNotFoundError:
        return ok(f"Ray is not installed; --cluster alone needs it: {install('cluster')}")
    try:
        with closing(socket.create_server((LOOPBACK, 0))) as server:
            socket.create_connection(server.getsockname(), timeout=5).close()
    except OSError as error:
        advice = "--cluster local cannot work here: a firewall or a sandbox keeps processes from each other"
        return broken(f"Ray {version}; no connection to {LOOPBACK} ({error.strerror or error})", advice)
    taken = [f"{port} ({what})" for port, what in PORTS.items() if answers(port)]
    if taken:
        advice = "if that is a cluster: --cluster auto; else: ray start --head --port OTHER"
        return warning(f"Ray {version}; something listens at {', '.join(taken)}", advice)
    return ok(f"Ray {version}; its ports are free")


def answers(port: int) -> bool:
    """Whether something listens there."""
    with closing(socket.socket()) as client:
        client.settimeout(2)
        return client.connect_ex(("127.0.0.1", port)) == 0
