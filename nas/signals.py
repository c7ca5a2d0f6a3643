"""Signals whose handlers raise: compiled code that is interrupted so may make another error of it, or none."""

import os
import threading
from collections.abc import Callable
from types import FrameType

from nas.errors import Interrupted

Handler = Callable[[int, FrameType | None], object]
AGAIN = 0.05
"""Seconds after which a signal that came at a bad moment comes again."""
arrivals: list[int] = []
"""The signals to which handlers of this process have come, since it was emptied."""


def interrupt(number: int, frame: FrameType | None) -> None:
    """A handler that raises Interrupted."""
    raise Interrupted(number)


def after_imports(handler: Handler) -> Handler:
    """The same handler, to which a signal comes later if a module is just being imported."""

    def handle(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            arrivals.append(number)
            handler(number, frame)

    return handle


def _imports(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
