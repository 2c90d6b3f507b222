"""The audit log: who did what, when and why; its rows are never changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.chassis.postgres.connection import Connection
from services.chassis.postgres.sql import Queries

SYSTEM = "system"
"""The actor of what no person asked for."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the audit log; `id` grows, and is the cursor of the next page."""

    id: int
    at: datetime
    action: str
    subject_id: str
    actor: str
    reason: str | None
    details: Mapping[str, Any]


async def record(
    conn: Connection,
    *,
    action: str,
    subject_id: str,
    actor: str,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    now: datetime | None,
) -> None:
    """Add an entry, in the transaction of what it tells of."""
    await conn.fetch(
        queries()["record"],
        {
            "now": now,
            "action": action,
            "subject_id": subject_id,
            "actor": actor,
            "reason": reason,
            "details": _json(details),
        },
    )


async def alarm(
    conn: Connection,
    kind: str,
    *,
    subject_id: str,
    actor: str = SYSTEM,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    now: datetime | None,
) -> None:
    """Add the entry of an alarm, in the transaction of what it tells of; `Metrics.alarm` sounds it."""
    action = _of_alarm(kind)
    await record(conn, action=action, subject_id=subject_id, actor=actor, reason=reason, details=details, now=now)


async def is_recorded(
    conn: Connection,
    *,
    action: str,
    subject_id: str,
    details: Mapping[str, Any] | None = None,
    since: datetime | None = None,
) -> bool:
    """Whether there is such an entry, with at least these details, and not older than `since`."""
    (row,) = await conn.fetch(
        queries()["is_recorded"],
        {"action": action, "subject_id": subject_id, "details": _json(details), "since": since},
    )
    return bool(row["found"])


async def alarm_once(
    conn: Connection,
    kind: str,
    *,
    subject_id: str,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    now: datetime | None,
) -> None:
    """Add the entry of an alarm that may go on: one for a subject and these details, however often it sounds."""
    if not await is_recorded(conn, action=_of_alarm(kind), subject_id=subject_id, details=details):
        await alarm(conn, kind, subject_id=subject_id, reason=reason, details=details, now=now)


async def find(
    conn: Connection,
    *,
    subject_id: str | None = None,
    cursor: int | None = None,
    limit: int = 100,
) -> Sequence[Entry]:
    """Return entries, newest first; `cursor` is the `id` of the last one seen."""
    statement = queries().narrowed(
        "find", None if subject_id is None else "of_subject", None if cursor is None else "before"
    )
    rows = await conn.fetch(statement, {"subject_id": subject_id, "cursor": cursor, "limit": limit})
    return [Entry(**{**dict(row), "details": json.loads(row["details"])}) for row in rows]


def _of_alarm(kind: str) -> str:
    return f"alarm.{kind}"


def _json(details: Mapping[str, Any] | None) -> str:
    return json.dumps(dict(details or {}))


queries = Queries.beside(__file__, "audit.sql")
"""Read the named statements of `audit.sql`, once."""
