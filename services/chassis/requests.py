"""What a request may hold: the strict base of request models, and the parameters that many routes share."""

import re
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

IDENTIFIER: Final = r"^[A-Za-z0-9_-]{1,64}$"


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


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
PathId = Annotated[str, Path(pattern=IDENTIFIER)]
"""A user id, order id or sku in a path."""
QueryInt = Annotated[int, BeforeValidator(_digits)]
"""A whole number in a query."""
Limit = Annotated[QueryInt, Query(ge=1, le=200)]
"""How many items a page may have."""
