"""Keywords that are a command's own and the fields of its settings: each is said once, there."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from nas.cluster.storage import storage_of
from nas.data.tensors import pack
from nas.errors import UsageError, nearest
from nas.execution import Execution
from nas.run.folder import runs_root

Command = Callable[..., Any]
Function = TypeVar("Function", bound=Command)
PATHS = ("ops", "out", "runs", "data_root", "latency_table")
"""Keywords that may be text."""


def with_fields(command: Command, *kinds: type) -> Callable[[Function], Function]:
    """Gives a function of ``**values`` a signature and a docstring: of its command and of the fields of settings.

    The defaults shown are the settings' own; what is not given is the preset's or method's.
    """

    def decorate(function: Function) -> Function:
        shown = [each for each in inspect.signature(function).parameters.values() if each.kind is not each.VAR_KEYWORD]
        own = inspect.signature(command).parameters
        added = [each for each in own.values() if each.kind is each.KEYWORD_ONLY]
        added += [each for kind in (*kinds, *[Execution] * ("execution" in own)) for each in _parameters(kind)]
        names = {"settings", "execution", *(each.name for each in shown)}
        unique = {each.name: each for each in reversed(added) if each.name not in names}
        order = sorted([*shown, *reversed(unique.values())], key=lambda each: each.kind)
        function.__signature__ = inspect.Signature(order)  # type: ignore[attr-defined]
        options: list[Any] = [field for kind in kinds for field in fields(kind)]
        said = [f"    {option.name}: {option.default.description}" for option in options]
        about = [inspect.getdoc(function) or "", "", inspect.getdoc(command) or ""]
        function.__doc__ = "\n".join([*about, *(["", "Settings:", *said] if said else [])])
        return function

    return decorate


def _parameters(kind: type) -> list[inspect.Parameter]:
    """The fields of settings as keywords."""
    hints = get_type_hints(kind)
    defaults = {field.name: getattr(field.default, "default", field.default) for field in fields(kind)}
    return [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=hints[name])
        for name, value in defaults.items()
    ]


def divided(values: dict[str, Any], command: Command, *kinds: type) -> tuple[dict[str, Any], dict[str, Any]]:
    """(The command's own keywords, with an Execution; those of settings): without None, images put into a file.

    Raises:
        UsageError: a keyword that is neither's; images that cannot be used.
    """
    values = {name: Path(value) if name in PATHS else value for name, value in values.items() if value is not None}
    if "data" in values and not isinstance(values["data"], str):
        values["data"] = in_a_file(values["data"], values.get("runs"))
    taken, own = inspect.signature(command).parameters, dict[str, Any]()
    if "runs" in taken and "execution" in taken:
        runs, storage = storage_of(*(values.get(name) for name in ("runs", "cluster", "workers", "storage")))
        values |= {"storage": storage} | ({"runs": runs} if runs else {})
    if "execution" in taken:
        places = [field.name for field in fields(Execution) if field.name in values]
        own["execution"] = Execution(**{name: values.pop(name) for name in places})
    own |= {name: values.pop(name) for name in taken if name in values}
    known = [field.name for kind in kinds for field in fields(kind)]
    if unknown := sorted(set(values) - set(known)):
        raise UsageError(f'unknown keyword "{unknown[0]}": {nearest(unknown[0], [*known, *own])}')
    return own, values


def in_a_file(data: Any, runs: Path | None) -> str:
    """A path of data as text; images of one's own are kept beside the runs."""
    if isinstance(data, Path):
        return str(data)
    both = isinstance(data, tuple | list) and len(data) == 2 and not hasattr(data[0], "dtype")
    train, test = data if both else (data, None)
    return str(pack(train, test, runs_root(runs) / "data"))
