"""nas doctor: a line a check, a status that says it."""

import json
import sys
from collections.abc import Callable
from unittest.mock import Mock

import pytest

from nas.doctor import registry
from nas.doctor.check import Case, Line, broken, ok, warning
from nas.engine.merged import BACKENDS
from nas.errors import Interrupted

Nas = Callable[..., tuple[int, str, str]]


def noise(case: Case) -> Line:
    print("what a check's own work says", file=sys.stderr)
    return ok("well")


def bug(case: Case) -> Line:
    raise RuntimeError("the kernels\nare of another layout")


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ({"one": noise, "two": lambda case: warning("slow", "wait")}, 0),
        ({"one": noise, "two": lambda case: broken("wrong", "mend it"), "three": noise}, 1),
        ({"two": bug, "one": noise}, 1),
    ],
)
def test_status_and_lines(checks: dict[str, object], status: int, nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "CHECKS", checks)
    found, out, err = nas("doctor")
    assert found == status and len(out.splitlines()) == len(checks) and not err
    assert "ok       one               well" in out
    found, out, _ = nas("doctor", "--json")
    rows = {row["check"]: row for row in json.loads(out)}
    assert found == status and set(rows) == set(checks) and rows["one"]["state"] == "ok"
    assert status == 0 or (rows["two"]["state"] == "broken" and rows["two"]["advice"])
    if checks["two"] is bug:
        assert rows["two"]["text"] == "RuntimeError: the kernels are of another layout"


def test_what_is_checked() -> None:
    wanted = {"versions", "compiler", "device", "precision", "first order", "second order", "memory", "disk", "ray"}
    wanted |= {"resumed search", "resumed training", "data cifar10"}
    wanted |= {f"engine {name}" for name in BACKENDS if name != "auto"}
    assert wanted <= set(registry.CHECKS)


def test_a_device_that_is_not_there(nas: Nas) -> None:
    status, out, err = nas("doctor", "--device", "tpu")
    assert status == 2 and not out and err.count("\n") == 1


def test_a_signal(nas: Nas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that is stopped is not broken."""
    monkeypatch.setattr(registry, "CHECKS", {"one": Mock(side_effect=Interrupted(15))})
    status, out, err = nas("doctor")
    assert (status, out, err) == (143, "", "interrupted\n")
