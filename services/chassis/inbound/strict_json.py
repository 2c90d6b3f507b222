"""Strict JSON: UTF-8, no duplicate names, no NaN, limited depth and size, 64-bit integers, storable text."""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Final

from services.chassis.errors import Fault, Invalid, Malformed
from services.chassis.postgres.texts import storable

MAX_DEPTH: Final = 64
MAX_VALUES: Final = 10_000
"""With this many values, all work on a body blocks the event loop for some hundredths of a second."""
MAX_NAMES: Final = 1_000
"""The limit for one object: each name that a model does not know is a fault in the answer."""
MIN_INTEGER: Final = -(2**63)
MAX_INTEGER: Final = 2**63 - 1

_SUSPICIOUS: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_PARTS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)|[\[{]|[\]}]|,', re.DOTALL)
"""Brackets and commas, and the strings that they may be in: one that has no end goes to the end of the text, or else
whatever is in it would be looked at again from each of its quotes.
"""
_PARTS_OF_A_VALUE: Final = 4
"""At most: its name, two brackets and a comma."""


def loads(raw: bytes) -> Any:
    """Parse; Malformed for what is no JSON, Invalid for JSON that we refuse."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise Malformed("The body is not UTF-8.") from None
    _check_size(text)
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


def is_encoded(content_encoding: str | None) -> bool:
    """Whether a Content-Encoding header says that the body is packed."""
    return any(coding.strip().lower() not in {"", "identity"} for coding in (content_encoding or "").split(","))


def canonical(value: Any) -> str:
    """Return the same text for the same value, however it was written."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _check_size(text: str) -> None:
    """Refuse what is too deep, or too many values: each but one stands behind a comma or an opening bracket."""
    opened = text.count("[") + text.count("{")
    if opened <= MAX_DEPTH and opened + text.count(",") < MAX_VALUES:
        return
    depth, values = 0, 1
    for number, part in enumerate(_PARTS.finditer(text)):
        first = part.group()[0]
        values += first in "[{,"
        if values > MAX_VALUES or number > MAX_VALUES * _PARTS_OF_A_VALUE:
            raise Invalid(faults=[Fault("body", f"holds more than {MAX_VALUES} values")])
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Invalid(faults=[Fault("body", f"is nested deeper than {MAX_DEPTH} levels")])
        elif first in "]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > MAX_NAMES:
        raise Invalid(faults=[Fault("body", f"holds an object of more than {MAX_NAMES} names")])
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
