"""Moments that services say to each other: text as RFC 3339 has it, and nothing else that Python reads as a time."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from pydantic import BaseModel, ValidationError

from services.contracts.moments import Moment

TEN = datetime(2026, 11, 24, 10, tzinfo=UTC)


class Said(BaseModel):
    at: Moment


@pytest.mark.parametrize(
    "said",
    [
        "2026-11-24T10:00:00Z",
        "2026-11-24t10:00:00.000000000z",
        "2026-11-24T12:30:00+02:30",
        "2026-11-24T10:00:00-00:00",
    ],
)
def test_rfc_3339_is_read_into_utc(said: str) -> None:
    """Whatever the zone, as text and as JSON; a value is taken as it is, and is written so that it is read again."""
    for read in (Said.model_validate({"at": said}), Said.model_validate_json(json.dumps({"at": said}))):
        assert (read.at, read.at.tzinfo) == (TEN, UTC)
        assert Said.model_validate_json(read.model_dump_json()) == read
    assert Said(at=TEN.astimezone(timezone(timedelta(hours=9)))).at.tzinfo is UTC


@pytest.mark.parametrize(
    "said",
    [
        1_795_514_400,
        1_795_514_400.5,
        True,
        None,
        "1795514400",
        "2026-11-24",
        "2026-11-24T10:00:00",
        "2026-11-24 10:00:00Z",
        "2026-11-24T10:00Z",
        "2026-11-24T10:00:00+0200",
        "2026-13-24T10:00:00Z",
        "0001-01-01T00:00:00+14:00",
        datetime(2026, 11, 24, 10),  # noqa: DTZ001 - a moment without its zone is the point
    ],
)
def test_nothing_else_is(said: object) -> None:
    """No number, no date, no time without its zone, and none of a year that is none in UTC."""
    with pytest.raises(ValidationError):
        Said.model_validate({"at": said})
