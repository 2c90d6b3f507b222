"""Cursors of listings by time: the place of a page's last item, as text that clients hand back."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated

from fastapi import Query

from services.chassis.clock import in_utc
from services.chassis.errors import Fault, Invalid

Cursor = Annotated[str | None, Query(description="`next_cursor` of the page before.")]


def write_cursor(at: datetime, item_id: str) -> str:
    """Return the cursor of an item's place: its time, then its id among those of the same time."""
    return urlsafe_b64encode(json.dumps([at.isoformat(), item_id]).encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, str]:
    """Return the place that a cursor names, in UTC; Invalid if it is none of ours."""
    try:
        at, item_id = json.loads(urlsafe_b64decode(cursor.encode("ascii")))
        place = in_utc(datetime.fromisoformat(at)), str(item_id)
    except (ValueError, TypeError, RecursionError) as error:
        raise _invalid() from error
    if "\x00" in place[1] or not place[1].isascii():
        raise _invalid()
    return place


def _invalid() -> Invalid:
    return Invalid(faults=[Fault("query.cursor", "not a cursor of this listing")])
