"""Turning pydantic's errors into faults for the caller: where and why, never the value that was sent.

Names of unknown fields and keys of mappings are input as well; they are shown as `?`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from services.chassis.errors import Fault

UNKNOWN: Final = "?"
_OF_OURS: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$-]{0,63}")
_LOOKED_AT: Final = 100
"""More are told to nobody; and each is compared with all others."""
_TOO_FEW: Final = "too_short"
_TOO_MANY: Final = "too_long"
_OF_SECRETS: Final = "Value"
"""What pydantic calls a secret text, whose characters it counts as items."""
_OF_THE_TAG: Final = frozenset({"union_tag_invalid", "union_tag_not_found"})


def faults_of(found: Iterable[Any], *, under: Sequence[str] = (), tag: str | None = None) -> list[Fault]:
    """Return the faults of a ValidationError's `errors()`, each place `under` where the input was in the request.

    `tag`: the field whose value tells the models of a union apart. Pydantic puts that value before the places in a
    model, where it is no field, and quotes it where it fits none.
    """
    told = list(islice(found, _LOOKED_AT))
    return [_fault(fault, tuple(under), tag) for fault in told if not _only_follows(fault, told)]


def _only_follows(fault: Mapping[str, Any], others: Sequence[Mapping[str, Any]]) -> bool:
    """Whether something has too few items only because pydantic counts none that has a fault of its own."""
    place = fault["loc"]
    return fault["type"] == _TOO_FEW and any(
        len(other["loc"]) > len(place) and other["loc"][: len(place)] == place for other in others
    )


def _fault(fault: Mapping[str, Any], under: tuple[str, ...], tag: str | None) -> Fault:
    place: tuple[Any, ...] = tuple(fault["loc"])
    why = _why(fault)
    if fault["type"] in _OF_THE_TAG and tag is not None:
        place, why = (tag,), "Field required" if fault["type"] == "union_tag_not_found" else "Unknown type"
    elif tag is not None:
        place = place[1:]
    if fault["type"] == "extra_forbidden":
        place = (*place[:-1], UNKNOWN)
    return Fault(".".join((*under, *(_part(part) for part in place))), why)


def _why(fault: Mapping[str, Any]) -> str:
    """Return pydantic's words, but for those that tell of its own types."""
    bounds = fault.get("ctx", {})
    things = "character" if bounds.get("field_type") == _OF_SECRETS else "item"
    if fault["type"] == _TOO_FEW:
        return f"needs at least {_counted(bounds['min_length'], things)}"
    if fault["type"] == _TOO_MANY:
        return f"may have at most {_counted(bounds['max_length'], things)}"
    return str(fault["msg"]).removeprefix("Value error, ")


def _counted(number: int, things: str) -> str:
    return f"one {things}" if number == 1 else f"{number} {things}s"


def _part(part: Any) -> str:
    return str(part) if isinstance(part, int) or _OF_OURS.fullmatch(part) else UNKNOWN
