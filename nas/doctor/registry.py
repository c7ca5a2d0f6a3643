"""All checks, in the order in which they are made."""

import contextlib
import io
import time
from collections.abc import Iterator
from dataclasses import dataclass

from nas.doctor import images, machine, numerics, resuming, software
from nas.doctor.check import Case, Check, Line, broken
from nas.engine.merged import BACKENDS

CHECKS: dict[str, Check] = {
    "versions": software.versions,
    "extras": software.extras,
    "device": machine.device,
    "threads": machine.threads,
    "memory": machine.memory,
    "disk": machine.disk,
    "compiler": software.compiler,
    **{f"engine {name}": numerics.engine(name) for name in BACKENDS if name != "auto"},
    "precision": machine.precision,
    "first order": numerics.first_order,
    "second order": numerics.second_order,
    "data digits": images.digits,
    "data cifar10": images.cifar("cifar10"),
    "data cifar100": images.cifar("cifar100"),
    "resumed search": resuming.resumed_search,
    "resumed training": resuming.resumed_training,
    "ray": software.ray,
}


@dataclass(frozen=True)
class Outcome:
    """What came of a check, and how long it took."""

    check: str
    line: Line
    seconds: float


def examine(case: Case) -> Iterator[Outcome]:
    """The outcomes, each as it comes; a check that fails by itself is broken too."""
    for name, check in CHECKS.items():
        started = time.monotonic()
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                line = check(case)
        except Exception as error:  # whatever it is, it is what the user is to know
            said = " ".join(str(error).split())
            line = broken(f"{type(error).__name__}: {said}", "an error of this program or of its installation")
        yield Outcome(name, line, round(time.monotonic() - started, 1))
