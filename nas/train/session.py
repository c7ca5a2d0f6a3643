"""What every long loop needs: the epochs and steps that are left, sums, log lines, checkpoints, a polite stop.

The loops stay flat::

    session = Session(run, parts, Epoch, epochs=…, steps=…, title=…)
    session.restore(last_state(run))
    with session:
        for epoch in session.epochs():
            for step in session.steps():
                …
                session.add(loss=loss)
            session.end_epoch("…", train_loss=…)
"""

import gc
import json
import math
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Protocol, Self, TypeVar

import torch
from torch import Tensor

from nas.errors import Interrupted, UsageError
from nas.execution import at_most
from nas.files import read_lines
from nas.run import names
from nas.run.documents import as_json
from nas.run.folder import Run
from nas.run.hints import resumption
from nas.run.log import Epoch
from nas.train import checkpoint
from nas.train.checkpoint import State
from nas.train.preflight import span
from nas.train.progress import Bar
from nas.train.stopping import StopSignal

CHECKPOINT_SECONDS = 300.0
AnyEpoch = TypeVar("AnyEpoch", bound=Epoch)
Watch = Callable[[AnyEpoch], None]
"""Is handed each epoch's log entry; may raise to end the loop there."""


class Stateful(Protocol):
    """A module or an optimiser."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> Any: ...


class Session(Generic[AnyEpoch]):
    """A resumable loop of ``epochs`` × ``steps``.

    Args:
        run: where log and checkpoints go.
        parts: everything that learns, by name. Random streams need no saving: they are functions of the step.
        kind: of the log's entries.
        epochs, steps: epochs, and steps in each.
        title: shown beside the progress.
        watch: is handed each epoch's entry, once its checkpoint is written, by the worker that writes it.
        quiet: shows no progress.
        writes: False for all but one of the workers that share a training: only one keeps log and checkpoints.
        agree: whether any worker was asked to stop; all ask after the same steps, and stop after the same one.
    """

    def __init__(
        self,
        run: Run,
        parts: Mapping[str, Stateful],
        kind: type[AnyEpoch],
        *,
        epochs: int,
        steps: int,
        title: str,
        watch: Watch[AnyEpoch] | None = None,
        quiet: bool = False,
        writes: bool = True,
        agree: Callable[[bool], bool] = bool,
    ) -> None:
        self.run, self.parts, self.kind, self.title = run, parts, kind, title
        self.total, self.per_epoch = epochs, steps
        self.watch, self.quiet, self.writes, self.agree = watch if writes else None, quiet, writes, agree
        self.epoch = 0
        self.done = 0  # steps of this epoch
        self._sums: dict[str, Tensor] = {}
        self._seconds = 0.0
        self._log: list[str] = []
        self._signal = StopSignal()

    def restore(self, state: State | None) -> None:
        """Takes up a checkpoint, if there is one; the log is cut to it and the start is noted in events.jsonl.

        Raises:
            UsageError: the checkpoint does not fit.
        """
        if state is not None:
            self._load(state)
        if self.writes:
            if len(self._log) < self.epoch:  # a checkpoint from before it kept them
                self._log = [json.dumps(as_json(each)) for each in self.run.log(self.kind) if each.epoch < self.epoch]
            if len(self._log) < self.epoch:
                print(f"warning: {self.run.path / names.LOG} is damaged: epochs are missing", file=sys.stderr)
            self.run.write_log(self._log)
            self.run.append_event(self._event("resumed" if self.step else "started"))
            if self.step and not self.quiet and self.epoch < self.total:
                print(f"{self.title} goes on at step {self.step}", file=sys.stderr, flush=True)

    def _event(self, event: str) -> dict[str, str | int | float]:
        host = socket.gethostname()
        return {"event": event, "step": self.step, "epoch": self.epoch, "host": host, "time": time.time()}

    def __enter__(self) -> Self:
        self._signal.__enter__()
        total = self.total * self.per_epoch
        self._bar = Bar(self.title, total=total, completed=self.step, quiet=self.quiet)
        self._bar.start()
        gc.collect()
        gc.freeze()  # else the collector walks through all modules every few steps: 5 % of a small batch's time
        self._started = self._saved = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        gc.unfreeze()
        self._bar.stop()
        self._signal.__exit__(kind, error, trace)
        if kind is not None and self.writes:
            with suppress(UsageError):  # the first error is the one to be seen
                self.run.append_event({**self._event("ended"), "by": kind.__name__})

    @property
    def step(self) -> int:
        """Steps done in all."""
        return self.epoch * self.per_epoch + self.done

    def epochs(self, last: int | None = None) -> Iterator[int]:
        """The epochs still to do, up to the one before ``last``; the first may be half done."""
        while self.epoch < (self.total if last is None else last):
            yield self.epoch

    def steps(self) -> Iterator[int]:
        """The steps of this epoch still to do, as global numbers; after each a stop or a checkpoint may be due.

        Raises:
            Interrupted: on SIGINT or SIGTERM, after a checkpoint was written.
        """
        while self.done < self.per_epoch:
            yield self.step
            self.done += 1
            self._bar.move(self.step)
            self._stop_if_asked()
            if time.monotonic() - self._saved > CHECKPOINT_SECONDS:
                self.save()

    def add(self, **values: Tensor) -> None:
        """Adds to the epoch's sums, on the device, without waiting for it."""
        for name, value in values.items():
            addend = value.detach().double()
            self._sums[name] = self._sums[name] + addend if name in self._sums else addend

    def sums(self) -> dict[str, float]:
        """The epoch's sums so far."""
        return {name: float(value) for name, value in self._sums.items()}

    def end_epoch(self, line: str, **values: Any) -> None:
        """Writes the epoch's log entry, made of ``values``, and a checkpoint, and prints ``line``."""
        now = time.monotonic()
        entry = self.kind(epoch=self.epoch, seconds=round(self._seconds + now - self._started, 3), **values)
        if self.writes:
            self._log.append(self.run.append_log(entry))
        rest = (self.total - self.epoch - 1) * entry.seconds
        took = f"{span(entry.seconds)}, {span(rest)} left" if rest else span(entry.seconds)
        self._bar.say(f"{self.title} epoch {self.epoch + 1}/{self.total}  loss {entry.train_loss:.4g}  {line}  {took}")
        lost = [name for name, value in values.items() if isinstance(value, float) and not math.isfinite(value)]
        if lost:
            self._bar.say(f"warning: {self.title}: {lost[0]} is no finite number any more; a smaller --lr may help")
        self.epoch, self.done = self.epoch + 1, 0
        self._sums, self._seconds, self._started = {}, 0.0, now
        self.save()
        self._stop_if_asked()
        if self.watch:
            self.watch(entry)

    def _stop_if_asked(self) -> None:
        if self.agree(bool(self._signal.number)):
            self.save()
            number = self._signal.number or signal.SIGTERM
            raise Interrupted(number)

    def say(self, line: str) -> None:
        """Prints a line beside the progress."""
        self._bar.say(line)

    def keep(self, folder: str, count: int) -> None:
        """Keeps the present state in a folder of the run, with the ``count - 1`` that were kept before."""
        if self.writes:
            checkpoint.save(self.run.path / folder, self.step, self._state(), count)

    def kept(self, folder: str, epoch: int) -> State | None:
        """The state at the end of an epoch, if it was kept."""
        return checkpoint.load_step(self.run.path / folder, (epoch + 1) * self.per_epoch)

    def go_back(self, state: State) -> None:
        """Goes on from an earlier state; the log's later lines are moved to abandoned.jsonl."""
        log = self._log
        self._load(state)
        self._started = time.monotonic()
        self._bar.move(self.step)
        self._log = log[: self.epoch]
        if self.writes:
            self.run.write_log(self._log, abandoned=log[self.epoch :])

    def save(self) -> None:
        """Writes a checkpoint.

        Raises:
            UsageError: it cannot be written.
        """
        if not self.writes:
            return
        try:
            checkpoint.save(self.run.path / names.CHECKPOINT, self.step, self._state())
            self.run.publish()
        except UsageError as error:
            if self.run.copy:  # this folder is a worker's own
                raise
            raise UsageError(f"{error}; once that is mended, go on with: {resumption(self.run)}") from None
        self._saved = time.monotonic()

    def _state(self) -> State:
        now = time.monotonic()
        return State(
            epoch=self.epoch,
            done=self.done,
            sums=self._sums,
            seconds=self._seconds + now - self._started,
            threads=torch.get_num_threads(),
            versions={"torch": str(torch.__version__)},
            parts={name: part.state_dict() for name, part in self.parts.items()},
            log=self._log,
        )

    def _load(self, state: State) -> None:
        try:
            if state.epoch > self.total or state.done > self.per_epoch:
                raise ValueError(f"it is at epoch {state.epoch} and step {state.done} of it")
            for name, part in self.parts.items():
                part.load_state_dict(state.parts[name])
        except (LookupError, ValueError, RuntimeError, TypeError, AttributeError) as error:
            text = " ".join(str(error).split())[:300]
            raise UsageError(f"checkpoint in {self.run.path} does not fit its settings: {text}") from None
        self.epoch, self.done = state.epoch, state.done
        self._sums, self._seconds, self._log = state.sums, state.seconds, state.log or []
        torch.set_num_threads(at_most(state.threads))
        if (begun := state.versions.get("torch")) != str(torch.__version__):
            print(f"warning: begun with torch {begun}: not bit for bit the same", file=sys.stderr)


def last_state(run: Run, writes: bool = True) -> State | None:
    """A run's newest checkpoint, to which its log is brought back: lines after it go, damaged ones are mended.

    Args:
        writes: False: the log is left as it is.

    Raises:
        UsageError: all checkpoints are damaged, or the run's documents are others than those it was begun with.
    """
    run.check_documents()
    state, lines = checkpoint.load(run.path / names.CHECKPOINT), read_lines(run.path / names.LOG)
    if state is None:
        if len(lines) > 1:
            print(f"warning: {run.path} has no checkpoint any more: it begins anew", file=sys.stderr, flush=True)
        return None
    if state.log is not None and writes:
        if lines[: len(state.log)] != state.log:
            print(f"warning: {run.path / names.LOG} was damaged; the checkpoint's lines are put back", file=sys.stderr)
        run.write_log(state.log)
    return state
