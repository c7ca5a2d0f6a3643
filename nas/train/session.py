"""What every long loop needs: remaining epochs and steps, sums, log, progress, checkpoints, a polite stop.

The loops stay flat::

    with Session(run, parts, epochs=…, steps=…) as session:
        for epoch in session.epochs():
            for step in session.steps():
                …
                session.add(train_loss=loss)
            session.end_epoch({…})
"""

import math
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from nas.errors import Interrupted, UsageError
from nas.run.folder import Run
from nas.train import checkpoint

CHECKPOINT_SECONDS = 300.0
Watch = Callable[[Mapping[str, Any]], None]
"""Is handed each epoch's log entry; may raise to end the loop there."""


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Session:
    """A resumable loop of ``epochs`` × ``steps``.

    Args:
        run: where log and checkpoints go; an existing checkpoint is taken up.
        parts: everything that learns, by name. Random streams need no saving: they are functions of the step.
        epochs, steps: epochs, and steps in each.
        title: shown beside the progress.
        watch: told of each epoch, once its checkpoint is written.
        quiet: shows no progress.
        writes: False for all but one of the workers that share a training: only one keeps log and checkpoints.
        agree: whether any worker was asked to stop; all ask after the same steps, and stop after the same one.

    Raises:
        UsageError: the checkpoint does not fit, or cannot be written.
        Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
    """

    def __init__(
        self,
        run: Run,
        parts: Mapping[str, Stateful],
        *,
        epochs: int,
        steps: int,
        title: str,
        watch: Watch | None = None,
        quiet: bool = False,
        writes: bool = True,
        agree: Callable[[bool], bool] = bool,
    ) -> None:
        self.watch, self.quiet, self.writes, self.agree = watch, quiet, writes, agree
        self.run, self.parts, self.total, self.per_epoch, self.title = run, parts, epochs, steps, title
        self.epoch = 0
        self.done = 0  # steps of this epoch
        self._sums: dict[str, Tensor] = {}
        self._seconds = 0.0
        self._signal = 0
        self._handlers: dict[int, Any] = {}
        self._restore()
        if writes:
            self.run.cut_log(self.epoch)
            self._note_start()

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM) if threading.current_thread() is threading.main_thread() else ():
            self._handlers[number] = signal.signal(number, self._stop)
        console = Console(stderr=True)
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%")]
        hidden = self.quiet or not console.is_terminal
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=hidden)
        self._progress.start()
        self._bar = self._progress.add_task(self.title, total=self.total * self.per_epoch, completed=self.step)
        self._started = self._saved = time.monotonic()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._progress.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    @property
    def step(self) -> int:
        """Steps done in all."""
        return self.epoch * self.per_epoch + self.done

    def epochs(self) -> Iterator[int]:
        """The epochs still to do; the first may be half done."""
        while self.epoch < self.total:
            yield self.epoch

    def steps(self) -> Iterator[int]:
        """The steps of this epoch still to do, as global numbers; after each a stop or a checkpoint may be due."""
        while self.done < self.per_epoch:
            yield self.step
            self.done += 1
            self._progress.update(self._bar, completed=self.step)
            self._stop_if_asked()
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self._save()

    def add(self, **values: Tensor) -> None:
        """Adds to the epoch's sums, on the device, without waiting for it."""
        for name, value in values.items():
            addend = value.detach().double()
            self._sums[name] = self._sums[name] + addend if name in self._sums else addend

    def sums(self) -> dict[str, float]:
        """The epoch's sums so far."""
        return {name: float(value) for name, value in self._sums.items()}

    def end_epoch(self, values: Mapping[str, Any], line: str) -> None:
        """Writes the epoch's log line and a checkpoint, and prints ``line``."""
        now = time.monotonic()
        entry = {"epoch": self.epoch, "seconds": round(self._seconds + now - self._started, 3), **values}
        if self.writes:
            self.run.append_log(entry)
        if not self.quiet:
            self._say(f"{self.title} epoch {self.epoch + 1}/{self.total}  {line}  {entry['seconds']:.0f} s")
        lost = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        if lost and not self.quiet:
            self._say(f"warning: {self.title}: {lost[0]} is no finite number any more; a smaller --lr may help")
        self.epoch, self.done = self.epoch + 1, 0
        self._sums, self._seconds, self._started = {}, 0.0, now
        self._save()
        self._stop_if_asked()
        if self.watch:
            self.watch(entry)

    def _say(self, line: str) -> None:
        self._progress.print(line) if not self._progress.disable else print(line, file=sys.stderr, flush=True)

    def _stop_if_asked(self) -> None:
        if self.agree(bool(self._signal)):
            self._save()
            raise Interrupted(self._signal or signal.SIGTERM, f"saved; go on with --resume {self.run.path}")

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._signal = number
        print("stopping after this step …", file=sys.stderr)

    def _note_start(self) -> None:
        """A line in events.jsonl for each start and each resumption, with the step it begins at."""
        event = {"event": "resumed" if self.step else "started", "step": self.step, "epoch": self.epoch}
        self.run.note({**event, "host": socket.gethostname(), "time": time.time()})
        if self.step and not self.quiet and self.epoch < self.total:
            print(f"{self.title} goes on at step {self.step}", file=sys.stderr, flush=True)

    def _save(self) -> None:
        if not self.writes:
            return
        now = time.monotonic()
        state = {
            "epoch": self.epoch,
            "done": self.done,
            "sums": self._sums,
            "seconds": self._seconds + now - self._started,
            "threads": torch.get_num_threads(),
            "versions": {"torch": str(torch.__version__)},
            "parts": {name: part.state_dict() for name, part in self.parts.items()},
        }
        try:
            checkpoint.save(self.run.path / "checkpoint", self.step, state)
            self.run.publish()
        except UsageError as error:
            raise UsageError(f"{error}; once that is mended, go on with --resume {self.run.path}") from None
        self._saved = now

    def _restore(self) -> None:
        state = checkpoint.load(self.run.path / "checkpoint")
        if state is None:
            return
        try:
            for name, part in self.parts.items():
                part.load_state_dict(state["parts"][name])
            self.epoch, self.done = state["epoch"], state["done"]
            self._sums, self._seconds = state["sums"], state["seconds"]
            torch.set_num_threads(state["threads"])
        except (KeyError, ValueError, RuntimeError, TypeError) as error:
            said = " ".join(str(error).split())[:300]
            raise UsageError(f"checkpoint in {self.run.path} does not fit its settings: {said}") from None
        if state["versions"]["torch"] != str(torch.__version__):
            print(f"warning: begun with torch {state['versions']['torch']}: not bit for bit the same", file=sys.stderr)
