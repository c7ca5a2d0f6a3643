"""Reading and writing a run's JSON documents as typed dataclasses: pydantic checks each field as it is read."""

import json
import math
from collections.abc import Callable
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, TypeAdapter, ValidationError

from nas.bounds import LARGEST_NUMBER
from nas.errors import UsageError, first_of
from nas.files import LARGEST_JSON, read_text, write_json

DOCUMENT = ConfigDict(strict=True, extra="ignore", ser_json_inf_nan="null")
"""Of a document's dataclass: exact types; keys that only other versions know are passed over."""


def _bounded(value: float) -> float:
    if LARGEST_NUMBER < abs(value) < math.inf:
        raise ValueError(f"{value} is larger than any number that is computed")
    return value


Real = Annotated[float, AfterValidator(_bounded)]
Number = Annotated[Real, BeforeValidator(lambda value: math.nan if value is None else value)]
"""What may diverge: in JSON, which has no such numbers, NaN and infinities are null, and null is NaN."""


def _known(version: int) -> int:
    if version != 1:
        raise ValueError(f"written by another version of nas, as version {version}: this one reads version 1")
    return version


Version = Annotated[int, AfterValidator(_known)]
"""Of a document's form. A later one raises it where an earlier one must not read it."""

Document = TypeVar("Document")


def parse(text: str, kind: type[Document], where: str) -> Document:
    """The document of that kind in a JSON text.

    Raises:
        UsageError: malformed JSON, a missing field, a value of the wrong type or out of range; the first is named.
    """
    if len(text) > LARGEST_JSON:
        raise UsageError(f"{where}: it has more than {LARGEST_JSON >> 20} MiB")
    try:
        document: Document = _adapter(kind).validate_json(text)
        return document
    except ValidationError as error:
        raise UsageError(f"{where}: {first_of(error)}") from None


_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)
"""What reads and writes a kind of document; to make one takes ten times as long as to use it."""


def read(path: Path, kind: type[Document]) -> Document:
    """The document of that kind in a file; errors as of :func:`parse`."""
    return parse(read_text(path), kind, str(path))


def write(path: Path, document: Any) -> None:
    """Writes a dataclass as JSON, see :func:`as_json`."""
    write_json(path, as_json(document))


def as_json(document: Any) -> dict[str, Any]:
    """A dataclass as JSON data, without the fields that may be left out and are None."""
    values: dict[str, Any] = json.loads(_adapter(type(document)).dump_json(document))
    absent = {each.name for each in fields(document) if each.default is None and getattr(document, each.name) is None}
    return {name: value for name, value in values.items() if name not in absent}
