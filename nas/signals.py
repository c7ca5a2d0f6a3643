"""Signals whose handlers raise."""

import os
import threading
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object]
AGAIN = 0.05
"""Seconds after which a signal that came at a bad moment comes again."""


def after_imports(handler: Handler) -> Handler:
    """The same handler, to which a signal comes later if a module is just being imported.

    A compiled module that is interrupted raises ImportError instead, which says nothing of a signal and is an error of
    whatever was at work.
    """

    def handle(number: int, frame: FrameType | None) -> None:
        if _imports(frame):
            again = threading.Timer(AGAIN, os.kill, (os.getpid(), number))
            again.daemon = True
            again.start()
        else:
            handler(number, frame)

    return handle


def _imports(frame: FrameType | None) -> bool:
    while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None
