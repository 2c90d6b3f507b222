"""JSON as we accept it: UTF-8, no duplicate names, no NaN, bounded depth, 64-bit integers, text that can be stored."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from services.chassis.errors import Fault, Invalid, Malformed
from services.chassis.texts import storable

MAX_DEPTH: Final = 64
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_BRACKETS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]', re.DOTALL)
"""Brackets, and the strings that they may be in: one that has no end goes to the end of the text, or else whatever
is in it would be looked at again from each of its quotes.
"""


def loads(raw: bytes) -> Any:
    """Parse; Malformed for what is no JSON, Invalid for JSON that we refuse."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    _check_depth(text)
    try:
        value = json.loads(
            text,
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
    except json.JSONDecodeError:
        raise Malformed("The body is not JSON.") from None
    if _SUSPICIOUS.search(text):
        _check_text(value)
    return value


def is_json(content_type: str | None) -> bool:
    """Whether a Content-Type header says JSON."""
    kind = (content_type or "").split(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


def canonical(value: Any) -> str:
    """Return the same text for the same value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _check_depth(text: str) -> None:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for token in _BRACKETS.finditer(text):
        first = token.group()[0]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid(faults=[Fault("body", f"is nested deeper than {MAX_DEPTH} levels")])
        elif first in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise Malformed("The body holds an object that gives a name twice.")
    return value


def _integer(digits: str) -> int:
    if len(digits) <= 20 and MIN_INTEGER <= (value := int(digits)) <= MAX_INTEGER:
        return value
    raise Invalid(faults=[Fault("body", "holds an integer of more than 64 bits")])


def _float(digits: str) -> float:
    value = float(digits)
    if math.isfinite(value):
        return value
    raise Invalid(faults=[Fault("body", "holds a number that is too large")])


def _constant(_name: str) -> float:
    raise Malformed("The body is not JSON: NaN and Infinity are not numbers there.")


def _check_text(value: Any) -> None:
    if not all(storable(text) for text in _texts(value)):
        raise Invalid(faults=[Fault("body", "holds text with a NUL or half a surrogate pair")])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
