"""Reading values for people that may be unreadable, as another release or a person wrote them: they are left out."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

T = TypeVar("T")
Written = TypeVar("Written")


def read_or(written: Written, read: Callable[[Written], T], without: T, name: str, unreadable: list[str]) -> T:
    """Return `read(written)`; if that fails, add `name` to `unreadable` and return `without`."""
    try:
        return read(written)
    except (TypeError, ValueError, LookupError):
        unreadable.append(name)
        return without


def json_of(text: str | None) -> Any:
    """Read JSON; nothing is None."""
    return None if text is None else orjson.loads(text)


def value_of(text: str | None) -> Any:
    """Return the value of a record, None if it is unreadable; the saga stops when its code comes to such a record."""
    return read_or(text, json_of, None, "output", [])
