"""``python -m nas``: the ``nas`` command."""

import os
import signal
from types import FrameType


def main() -> None:
    """The command; a signal that comes before it knows what there is to save ends it at once."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    from nas import cli

    cli.main()


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


if __name__ == "__main__":
    main()
