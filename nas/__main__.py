"""``python -m nas``: the ``nas`` command."""

import os
import signal
from types import FrameType


def main() -> None:
    """The command."""
    heed_signals()
    from nas import cli

    cli.main()


def heed_signals() -> None:
    """A signal that comes before the command knows what there is to save ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
