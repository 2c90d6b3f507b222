"""Moments that services tell each other: RFC 3339 text in JSON, and never a number, which Python would take for one."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

_RFC_3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?([Zz]|[+-][0-9]{2}:[0-9]{2})"
)


def _spelled(value: object) -> object:
    if isinstance(value, datetime) or (isinstance(value, str) and _RFC_3339.fullmatch(value)):
        return value
    raise ValueError("is not a time such as 2026-11-24T10:00:00Z")


def _in_utc(at: datetime) -> datetime:
    """Return the moment in UTC; none of a year that only other time zones have, as no database keeps it."""
    try:
        return at.astimezone(UTC)
    except OverflowError:
        raise ValueError("lies outside of the years that there are in UTC") from None


Moment = Annotated[AwareDatetime, BeforeValidator(_spelled), AfterValidator(_in_utc)]
"""A moment with its time zone, read into UTC; also in a query."""
