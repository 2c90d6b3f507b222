"""What pydantic finds wrong with an input, as faults that may be told: where and why, never what was sent.

The names of fields that we do not know are input too, and so are the keys of a mapping: both are `?`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from services.chassis.errors import Fault

UNKNOWN: Final = "?"
_OF_OURS: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]{0,63}")
_OF_THE_TAG: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})


def faults_of(found: Iterable[Any], *, under: Sequence[str] = (), tag: str | None = None) -> list[Fault]:
    """Return the faults of a ValidationError's `errors()`, each place `under` where the input was in the request.

    `tag`: the field whose value tells the models of a union apart. Pydantic puts that value before the places in a
    model, where it is no field, and quotes it where it fits none.
    """
    return [_fault(fault, tuple(under), tag) for fault in found]


def _fault(fault: Mapping[str, Any], under: tuple[str, ...], tag: str | None) -> Fault:
    place: tuple[Any, ...] = tuple(fault["loc"])
    why = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] in _OF_THE_TAG and tag is not None:
        place, why = (tag,), "Field required" if fault["type"] == "union_tag_not_found" else "Unknown type"
    elif tag is not None:
        place = place[1:]
    if fault["type"] == "extra_forbidden":
        place = (*place[:-1], UNKNOWN)
    return Fault(".".join((*under, *(_part(part) for part in place))), why)


def _part(part: Any) -> str:
    return str(part) if isinstance(part, int) or _OF_OURS.fullmatch(part) else UNKNOWN
