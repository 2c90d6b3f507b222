"""What a request may hold: the strict base of request models, and the parameters that many routes share."""

import re
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

IDENTIFIER: Final = r"^[A-Za-z0-9_-]{1,64}$"
_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


class RequestModel(BaseModel):
    """A request body: unknown fields and values of another type are refused (`"1"` and `true` are no quantity).

    Strictness is this model's own: a tuple, a time or an enum in it needs `Field(strict=False)`; a nested model keeps
    its own rules. That a string can be stored, and that a number is finite, has been checked before.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def _digits(value: object) -> object:
    """Let only ASCII digits through: `int()` would take `1_0` and `٣` too."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,19}", value):
        raise ValueError("is not a whole number")
    return value


def _number(value: object) -> object:
    """Let only what is written plainly through: `float()` would take `1_0`, `٣` and `nan` too."""
    if isinstance(value, str) and not re.fullmatch(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", value):
        raise ValueError("is not a number")
    return value


def _moment(value: object) -> object:
    """Let only RFC 3339 through: pydantic would take seconds since 1970 too, and dates without a time."""
    if isinstance(value, str) and not _RFC_3339.fullmatch(value):
        raise ValueError("is not a time such as 2026-11-24T10:00:00Z")
    return value


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
PathId = Annotated[str, Path(pattern=IDENTIFIER)]
"""A user id, order id or sku in a path."""
WHOLE: Final = BeforeValidator(_digits)
"""Marks a whole number in a query; behind its bounds, which only so are told in the document."""
NUMBER: Final = BeforeValidator(_number)
"""Marks any number in a query; likewise."""
QueryMoment = Annotated[AwareDatetime, BeforeValidator(_moment)]
"""A moment in a query."""
Limit = Annotated[int, Query(ge=1, le=200), WHOLE]
"""How many items a page may have."""
