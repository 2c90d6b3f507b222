"""Where a page of a listing ended, as an opaque text."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from uuid import UUID

from services.chassis.clock import in_utc
from services.orchestrator.engine.model.errors import InvalidValue


def write_cursor(moment: datetime, row_id: UUID) -> str:
    """Write the last row of a page."""
    return urlsafe_b64encode(f"{moment.isoformat()} {row_id}".encode()).decode().rstrip("=")


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Read where to go on; InvalidValue if the text is no cursor."""
    try:
        moment, row_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
        return in_utc(datetime.fromisoformat(moment)), UUID(row_id)
    except ValueError:
        raise InvalidValue("this is not a cursor that a listing has given out") from None
