"""Reading and writing a run's JSON documents as typed dataclasses: pydantic checks each field as it is read."""

from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from nas.errors import UsageError
from nas.files import read_text, write_json

DOCUMENT = ConfigDict(strict=True, extra="ignore")
"""Of a document's dataclass: exact types; keys that only other versions know are passed over."""

Document = TypeVar("Document")


def parse(text: str, kind: type[Document], where: str) -> Document:
    """The document of that kind in a JSON text.

    Raises:
        UsageError: malformed JSON, a missing field or a value of the wrong type; the message names the first.
    """
    try:
        document: Document = TypeAdapter(kind).validate_json(text)
        return document
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{where}: {f'{place}: ' if place else ''}{first['msg']}") from None


def read(path: Path, kind: type[Document]) -> Document:
    """The document of that kind in a file; errors as of :func:`parse`."""
    return parse(read_text(path), kind, str(path))


def write(path: Path, document: Any) -> None:
    """Writes a dataclass as JSON, see :func:`as_json`."""
    write_json(path, as_json(document))


def as_json(document: Any) -> dict[str, Any]:
    """A dataclass as JSON data, without the fields that may be left out and are None."""
    values: dict[str, Any] = TypeAdapter(type(document)).dump_python(document, mode="json")
    absent = {field.name for field in fields(document) if field.default is None and values[field.name] is None}
    return {name: value for name, value in values.items() if name not in absent}
