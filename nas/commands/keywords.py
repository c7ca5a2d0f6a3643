"""Keywords made of the fields of settings, so that the API says each of them once: where the settings do."""

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from nas.execution import Execution

Function = TypeVar("Function", bound=Callable[..., Any])


def with_fields(*kinds: type) -> Callable[[Function], Function]:
    """Gives a function of ``**values`` a signature and a docstring with the fields of settings and of Execution.

    The defaults shown are the settings' own; what is not given is the preset's or method's.
    """

    def decorate(function: Function) -> Function:
        own = inspect.signature(function)
        named = [each for each in own.parameters.values() if each.kind is not each.VAR_KEYWORD]
        added = [_parameter(kind, field) for kind in (*kinds, Execution) for field in fields(kind)]
        parameters = {each.name: each for each in (*added, *named)}  # what the function itself takes wins
        order = sorted(parameters.values(), key=lambda each: (each.kind, each not in named))
        function.__signature__ = own.replace(parameters=order)  # type: ignore[attr-defined]
        said = [_sentence(field) for kind in kinds for field in fields(kind) if parameters[field.name] in added]
        where = f"    {', '.join(field.name for field in fields(Execution))}: as of nas.execution.Execution."
        settings = ["", "Settings:", *said] if said else []
        function.__doc__ = "\n".join([inspect.getdoc(function) or "", *settings, "", "Where:", where])
        return function

    return decorate


def _parameter(kind: type, field: Any) -> inspect.Parameter:
    default = getattr(field.default, "default", field.default)  # pydantic's FieldInfo has its own
    annotation = get_type_hints(kind)[field.name]
    default = inspect.Parameter.empty if default is MISSING else default
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _sentence(field: Any) -> str:
    return f"    {field.name}: {field.default.description}"


def execution_of(values: dict[str, Any]) -> Execution:
    """Takes the fields of an Execution out of keywords."""
    own = {field.name: values.pop(field.name) for field in fields(Execution) if field.name in values}
    root = own.pop("data_root", None)
    return Execution(data_root=Path(root) if root else None, **{k: v for k, v in own.items() if v is not None})
