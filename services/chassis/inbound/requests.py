"""What a request may hold: the strict base of request models, and the parameters that many routes share."""

import re
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, StringConstraints

from services.chassis.ids import IDENTIFIER


class RequestModel(BaseModel):
    """A request body: unknown fields and values of another type are refused (`"1"` and `true` are no quantity).

    Strictness is this model's own: a tuple, a time or an enum in it needs `Field(strict=False)`; a nested model keeps
    its own rules. That a string can be stored, and that a number is finite, has been checked before.
    """

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


def _spelled(pattern: str, refusal: str) -> BeforeValidator:
    """Let only text of one spelling through: Python and pydantic read others too, such as `1_0`, `٣` and `nan`."""
    spelling = re.compile(pattern)

    def check(value: object) -> object:
        if isinstance(value, str) and not spelling.fullmatch(value):
            raise ValueError(refusal)
        return value

    return BeforeValidator(check)


Identifier = Annotated[str, StringConstraints(pattern=IDENTIFIER)]
PathId = Annotated[str, Path(pattern=IDENTIFIER)]
"""A user id, order id or sku in a path."""
WHOLE: Final = _spelled(r"-?[0-9]{1,19}", "is not a whole number")
"""Marks a whole number in a query; behind its bounds, which only so are told in the document."""
NUMBER: Final = _spelled(r"-?[0-9]{1,15}(\.[0-9]{1,9})?", "is not a number")
"""Marks any number in a query; likewise."""
Limit = Annotated[int, Query(ge=1, le=200), WHOLE]
"""How many items a page may have."""
