"""Reading for people what another release may have written, or a hand: what cannot be read is named, and left out."""

from collections.abc import Callable
from typing import Any, TypeVar

import orjson

T = TypeVar("T")
Written = TypeVar("Written")


def legible(written: Written, read: Callable[[Written], T], without: T, name: str, illegible: list[str]) -> T:
    """Read what is written, or note the name of it and return what stands for it without."""
    try:
        return read(written)
    except (TypeError, ValueError, LookupError):
        illegible.append(name)
        return without


def json_of(text: str | None) -> Any:
    """Read JSON; nothing is None."""
    return None if text is None else orjson.loads(text)


def value_of(text: str | None) -> Any:
    """Return what a record holds; nothing if that cannot be read, which stops its saga when its code comes to it."""
    return legible(text, json_of, None, "output", [])
