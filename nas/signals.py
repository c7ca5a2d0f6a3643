"""Signals whose handlers raise: compiled code that is interrupted so may make another error of it, or none."""

import os
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]
AGAIN = 0.05
"""Seconds after which a signal that came at a bad moment comes again."""
raised: list[int] = []
"""The signals whose handlers have raised in this process."""


def after_imports(handler: Handler) -> Handler:
    """The same handler, to which a signal comes later if a module is just being imported."""

    def handle(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            raised.append(number)
            handler(number, frame)

    return handle


def _imports(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
