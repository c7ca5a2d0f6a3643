"""What the commands share: options made from settings, and output."""

import inspect
import json
import sys
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from nas.errors import UsageError

if TYPE_CHECKING:
    from nas.execution import Execution
    from nas.run.folder import Run

Command = TypeVar("Command", bound=Callable[..., Any])

Runs = Annotated[Path | None, typer.Option(help="Folder of run folders (default: NAS_RUNS, else ./runs).")]
DataRoot = Annotated[Path | None, typer.Option(help="Folder of the data (default: NAS_DATA, else ~/.cache/nas).")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU where there is one).")]
Threads = Annotated[int | None, typer.Option(help="CPU threads (default: torch's choice).")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Ops = Annotated[Path | None, typer.Option(help="A Python file with operations of your own: OPS = {name: builder}.")]
TensorBoard = Annotated[bool, typer.Option("--tensorboard", help="Write TensorBoard logs to RUN/tensorboard too.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="A TOML file of settings; options win over it.")]
Seeds = Annotated[str | None, typer.Option(help="Several seeds, such as 0,1,2.")]


def with_settings(kind: type, *, without: tuple[str, ...] = ()) -> Callable[[Command], Command]:
    """Gives a command one option per field of a settings class, handed over by keyword; None: not given."""

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        hints = get_type_hints(kind)
        added = [_option(field, hints[field.name]) for field in fields(kind) if field.name not in without]
        signature = inspect.Signature([*own, *added])
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def _option(field: Any, hint: Any) -> inspect.Parameter:
    info = field.default  # pydantic's FieldInfo
    default = getattr(info, "default", info)
    described = f"{info.description} (paper: {default})" if default is not None else info.description
    name = f"--{field.name.replace('_', '-')}"
    kind: Any = _plain(hint)
    flags = f"{name}/--no-{name[2:]}" if kind is bool else name
    reader: dict[str, Any] = {"parser": _reader(kind), "metavar": NUMBERS[kind].upper()} if kind in NUMBERS else {}
    option = typer.Option(flags, help=described, show_default=False, **reader)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


NUMBERS: dict[type, str] = {int: "whole number", float: "number"}


def _reader(kind: type) -> Callable[[str], Any]:
    """Reads a number; its error names the value, which typer's own does not."""

    def read(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise typer.BadParameter(f'"{text}" is not a {NUMBERS[kind]}') from None

    return read


def _plain(hint: Any) -> Any:
    """The type an option's text is read as: Literal[1, 2] → int, int | None → int."""
    if get_origin(hint) is Literal:
        return type(get_args(hint)[0])
    if isinstance(hint, UnionType):
        return next(kind for kind in get_args(hint) if kind is not type(None))
    return hint


def read_settings(path: Path | None) -> dict[str, Any]:
    """The fields in a settings file; none without a file.

    Raises:
        UsageError: unreadable or malformed.
    """
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"--settings {path}: {getattr(error, 'strerror', None) or error}") from None


def execution(device: str | None, threads: int | None, data_root: Path | None, **cluster: Any) -> "Execution":
    """The options as one object.

    Args:
        cluster: cluster, workers and storage, as of :class:`nas.execution.Execution`.

    Raises:
        UsageError: a data folder that does not exist.
    """
    from nas.execution import Execution

    if data_root is not None and not data_root.is_dir():
        raise UsageError(f"--data-root {data_root}: there is no such folder")
    return Execution(device or "", threads, data_root, **cluster)


def parse_seeds(text: str | None) -> list[int] | None:
    """``0,1,2`` as numbers.

    Raises:
        UsageError: not such a list.
    """
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f'--seeds "{text}": it must be whole numbers with commas between, such as 0,1,2') from None
    if any(not 0 <= seed < 2**31 for seed in seeds):
        raise UsageError(f"--seeds {text}: seeds are whole numbers from 0 to 2147483647")
    return seeds


def to_resume(command: str, name: str, given: Mapping[str, Any], runs: Path | None) -> "Run":
    """The run that a command is to go on with; it brings its own settings.

    Args:
        given: what cannot be given with --resume.

    Raises:
        UsageError: some of it was given, there is no such run, or it is another command's.
    """
    from nas.run.folder import find, runs_root

    if extra := [name for name, value in given.items() if value is not None]:
        option = "RUN" if extra[0] == "targets" else f"--{extra[0].replace('_', '-')}"
        raise UsageError(f"--resume takes its settings from the run: {option} cannot be given with it")
    run = find(name, runs_root(runs))
    if run.told["command"] != command:
        raise UsageError(f"{run.path} is no run of nas {command}, but of nas {run.told['command']}")
    if run.finished:
        say(f"{run.path} is finished")
    return run


def resume(
    command: str, name: str, given: Mapping[str, Any], runs: Path | None, execution: "Execution", ops: Path | None
) -> "Run":
    """Goes on with the run of :func:`to_resume`; a finished one is left as it is."""
    from nas.commands import carry

    return carry.resume(to_resume(command, name, given, runs), execution, ops)


def say(text: str) -> None:
    """A line for people, on stderr, so that stdout holds results alone."""
    print(text, file=sys.stderr, flush=True)


def print_networks(result: Mapping[str, Any]) -> None:
    """The table of a retraining of several seeds or networks, and what may be said of it."""
    from rich.console import Console

    from nas.reports.comparison import notes, table

    terminal = Console().is_terminal
    console = Console(width=None if terminal else 200, highlight=False)
    console.print(table(result["networks"]))
    for line in notes(result):
        console.print(line, markup=False, soft_wrap=not terminal)


def print_json(document: Any) -> None:
    """One JSON object on stdout."""
    print(json.dumps(document, indent=1))
