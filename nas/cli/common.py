"""What the commands share: options made from settings, and output."""

import inspect
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from shutil import get_terminal_size
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from nas.errors import UsageError, nearest
from nas.files import parse_toml, read_text
from nas.settings import LONG, METHOD, RARE, RECIPE, WHAT

if TYPE_CHECKING:
    from nas.execution import Execution
    from nas.run.folder import Run
    from nas.tables import Table

Command = TypeVar("Command", bound=Callable[..., Any])

WHERE = "Where"
PANELS = (WHAT, METHOD, LONG, WHERE, RECIPE, RARE)
"""The panels of a command's help, in their order."""

Runs = Annotated[
    Path | None,
    typer.Option(help="Folder of run folders (default: NAS_RUNS, else ./runs).", rich_help_panel=WHERE),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(help="Folder of the data (default: NAS_DATA, else ~/.cache/nas).", rich_help_panel=WHERE),
]
Device = Annotated[
    str | None, typer.Option(help="cpu or cuda (default: a GPU where there is one).", rich_help_panel=WHERE)
]
Backend = Annotated[
    str | None,
    typer.Option(help="What computes on this device: auto, library, native, triton.", rich_help_panel=RARE),
]
Threads = Annotated[int | None, typer.Option(help="CPU threads (default: torch's choice).", rich_help_panel=WHERE)]
Cluster = Annotated[
    str | None, typer.Option(help="Work on a Ray cluster: local, or an address.", rich_help_panel=WHERE)
]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Cluster workers that share each search or training.", rich_help_panel=WHERE)
]
Storage = Annotated[
    str | None, typer.Option(help="Where a cluster keeps runs: a shared folder or a URL.", rich_help_panel=WHERE)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.", rich_help_panel=RARE)]
To = Annotated[str | None, typer.Option("--to", help="Print tables as markdown, csv or latex.", rich_help_panel=RARE)]
Ops = Annotated[
    Path | None,
    typer.Option(help="A Python file with operations of your own: OPS = {name: builder}.", rich_help_panel=WHAT),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Write TensorBoard logs to RUN/tensorboard too.", rich_help_panel=RARE)
]
SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="A TOML file of settings; options win over it.", rich_help_panel=RARE),
]
Seeds = Annotated[str | None, typer.Option(help="Several seeds, such as 0,1,2.", rich_help_panel=WHAT)]
Yes = Annotated[bool, typer.Option("--yes", help="Ask nothing.")]
Name = Annotated[
    str | None, typer.Option(help="Name of the run's folder (usual: made of date and time).", rich_help_panel=RARE)
]
Resume = Annotated[str | None, typer.Option(help="Go on with an interrupted run.", rich_help_panel=WHAT)]


def with_settings(
    kind: type,
    *,
    without: tuple[str, ...] = (),
    whose: str = "default",
    quick: dict[str, Any] | None = None,
) -> Callable[[Command], Command]:
    """Gives a command one option per field of a settings class, handed over by keyword; None: not given.

    Args:
        without: fields that have no option.
        whose: what the help calls the fields' defaults.
        quick: what the preset of that name has instead; shown beside.
    """

    def decorate(command: Command) -> Command:
        own = [p for p in inspect.signature(command).parameters.values() if p.kind is not p.VAR_KEYWORD]
        hints = get_type_hints(kind)
        named = [field for field in fields(kind) if field.name not in without]
        added = [_option(field, hints[field.name], whose, (quick or {}).get(field.name)) for field in named]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*added, *own)]
        signature = inspect.Signature(sorted(parameters, key=_panel))
        command.__signature__ = signature  # type: ignore[attr-defined]
        command.__annotations__ = {p.name: p.annotation for p in signature.parameters.values()}
        return command

    return decorate


def run_names() -> list[str]:
    """The runs there are, for completion."""
    from nas.run.folder import every, runs_root

    return ["last", *(run.path.name for run in every(runs_root()))]


def completing(command: Command) -> Command:
    """Has a shell complete a command's arguments, and what it goes on with, by the runs there are."""
    for parameter in inspect.signature(command).parameters.values():
        for info in getattr(parameter.annotation, "__metadata__", ()):
            if isinstance(info, typer.models.ArgumentInfo) or parameter.name in ("resume", "init"):
                info.autocompletion = info.autocompletion or run_names
    return command


def _panel(parameter: inspect.Parameter) -> int:
    """The place of a parameter's panel in the help; arguments come first."""
    panels = [getattr(each, "rich_help_panel", None) for each in getattr(parameter.annotation, "__metadata__", ())]
    return PANELS.index(panels[0]) if panels and panels[0] else -1


def _option(field: Any, hint: Any, whose: str, quick: Any) -> inspect.Parameter:
    info = field.default  # pydantic's FieldInfo
    default = info.default
    values = {whose: default} | ({} if quick is None else {"quick": quick})
    said = ", ".join(f"{name}: {value}" for name, value in values.items() if value not in (None, ""))
    described = f"{info.description} ({said})" if said else info.description
    name = f"--{field.name.replace('_', '-')}"
    kind: Any = _plain(hint)
    flags = f"{name}/--no-{name[2:]}" if kind is bool else name
    reader: dict[str, Any] = {"parser": _reader(kind), "metavar": NUMBERS[kind].upper()} if kind in NUMBERS else {}
    panel = info.json_schema_extra["panel"]
    if get_origin(hint) is Literal and kind is str:
        reader["autocompletion"] = lambda: list(get_args(hint))
    option = typer.Option(flags, help=described, show_default=False, rich_help_panel=panel, **reader)
    annotation: Any = Annotated[kind | None, option]
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


NUMBERS: dict[type, str] = {int: "whole number", float: "number"}


def _reader(kind: type) -> Callable[[str], Any]:
    """A reader of numbers; its error names the value, which typer's own does not."""

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


def read_settings(path: Path | None, option: str = "--settings ") -> dict[str, Any]:
    """The fields in a settings file, which ``option`` names; none without a file.

    Raises:
        UsageError: unreadable or malformed.
    """
    return {} if path is None else parse_toml(read_text(path), f"{option}{path}")


def execution(
    device: str | None,
    threads: int | None,
    data_root: Path | None,
    cluster: str | None = None,
    workers: int | None = None,
    storage: str = "",
    backend: str | None = None,
) -> "Execution":
    """The options as one object.

    Raises:
        UsageError: a data folder that does not exist.
    """
    from nas.execution import Execution

    if data_root is not None and not data_root.is_dir():
        raise UsageError(f"--data-root {data_root}: there is no such folder")
    return Execution(device or "", threads, data_root, cluster or "", workers, storage, backend or "auto")


def parse_seeds(text: str | None, option: str = "--seeds") -> list[int] | None:
    """``0,1,2`` as numbers.

    Raises:
        UsageError: not such a list.
    """
    if text is None:
        return None
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f'{option} "{text}": it must be whole numbers with commas between, such as 0,1,2') from None
    if any(not 0 <= seed < 2**31 for seed in seeds):
        raise UsageError(f"{option} {text}: seeds are whole numbers from 0 to 2147483647")
    return seeds


WITH_RESUME = {"resume", "runs", "data_root", "device", "cluster", "workers", "ops", "json"}
"""What may be given together with --resume: where a run goes on, not what it does."""


def resume(context: typer.Context, name: str, runs: Path | None, execution: "Execution", ops: Path | None) -> "Run":
    """The run, done, that a command was to go on with by --resume; it brings its own settings.

    Raises:
        UsageError: other options were given, there is no such run, or it is another command's.
    """
    from nas.commands.resume import resume
    from nas.run.folder import find, runs_root

    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name not in WITH_RESUME and source is not None and source.name == "COMMANDLINE":
            given = parameter.opts[0] if parameter.opts[0].startswith("-") else "RUN"
            raise UsageError(f"--resume takes its settings from the run: {given} cannot be given with it")
    run = find(name, runs_root(runs))
    if run.command != context.info_name:
        raise UsageError(f"{run.path} is no run of nas {context.info_name}, but of nas {run.command}")
    if run.finished:
        say(f"{run.path} is finished")
    resume(run, execution, ops)
    return run


def say(text: str) -> None:
    """Prints a line for people, on stderr, so that stdout holds results alone."""
    print(text, file=sys.stderr, flush=True)


def width() -> int:
    """Columns to print in: COLUMNS, else the terminal's; where there is neither, any number."""
    return get_terminal_size((10_000, 24)).columns


def print_tables(tables: "Sequence[Table]", to: str | None = None, about: str = "", notes: Sequence[str] = ()) -> None:
    """Prints tables for people, with lines about them; or ``to`` another form, as :func:`written`."""
    if to is not None:
        print(written(tables, to))
        return
    columns = width()
    blocks = [fill(about, columns)] * bool(about) + [table.text(columns) for table in tables if table.values]
    print("\n\n".join([*blocks, *["\n".join(fill(note, columns) for note in notes)] * bool(notes)]))


def fill(text: str, columns: int) -> str:
    """A text in lines, the last of which is no single word."""
    from textwrap import wrap

    for narrower in range(20):
        lines = wrap(text, max(20, columns - narrower))
        if len(lines) < 2 or " " in lines[-1]:
            break
    return "\n".join(lines)


def written(tables: "Sequence[Table]", to: str) -> str:
    """Tables in one of the forms of :data:`nas.tables.FORMS`.

    Raises:
        UsageError: another form, or no table.
    """
    from nas.tables import FORMS

    if to not in FORMS:
        raise UsageError(f'--to "{to}": {nearest(to, list(FORMS))}')
    return "\n\n".join(FORMS[to](table) for table in tables)


def draw_figure(what: str, targets: Sequence[str], runs: Path | None, to: str | None, out: Path | None) -> None:
    """Draws a figure of runs, in a file whose name is printed; errors as of :func:`nas.pages.figure.draw`."""
    from nas.files import write
    from nas.pages.figure import draw
    from nas.run.folder import find, runs_root

    every = [find(target, runs_root(runs)) for target in targets]
    path = out or Path(f"{every[0].path.resolve().name}-{what}.{to or 'pdf'}")
    write(path, draw(what, every, to or path.suffix[1:]))
    print(path)


def print_outcome(run: "Run", to: str | None = None) -> None:
    """Prints what a run came to."""
    from nas.pages.outcomes import outcome_of

    outcome = outcome_of(run)
    print_tables(outcome.tables, to, outcome.about, outcome.notes)


def print_json(document: Any) -> None:
    """Prints one JSON object on stdout."""
    print(json.dumps(document, indent=1))


def print_result(run: "Run") -> None:
    """Prints result.json as one JSON object, with the run's path."""
    print_json({"run": str(run.path), **run.result_document})
