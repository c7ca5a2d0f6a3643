"""What a check is given and what it says."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nas.execution import Execution


@dataclass(frozen=True)
class Case:
    """What is examined.

    Args:
        execution: device, threads and folder of the data.
        runs: folder of run folders.
    """

    execution: Execution
    runs: Path

    @property
    def device(self) -> str:
        """The device that commands would run on."""
        return self.execution.start()


@dataclass(frozen=True)
class Line:
    """What a check says.

    Args:
        state: "broken": what rests on it cannot be trusted; "warning": it works, with a drawback.
        text: what is there.
        advice: what to do.
    """

    state: Literal["ok", "warning", "broken"]
    text: str
    advice: str = ""


Check = Callable[[Case], Line]


def ok(text: str) -> Line:
    """All is well."""
    return Line("ok", text)


def warning(text: str, advice: str) -> Line:
    """It works, with a drawback."""
    return Line("warning", text, advice)


def broken(text: str, advice: str) -> Line:
    """What rests on it cannot be trusted."""
    return Line("broken", text, advice)
