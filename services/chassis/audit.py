"""Who did what, when and why: rows that are only ever added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, Index, MetaData, Table, Text, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

SYSTEM = "system"
"""The actor of what no person asked for."""

_RECORD = text(
    """
    insert into audit (at, action, subject_id, actor, reason, details)
    values (coalesce(cast(:now as timestamptz), clock_timestamp()), :action, :subject_id, :actor, :reason, :details)
    """,
).bindparams(bindparam("details", type_=JSONB))

_FIND = text(
    """
    select id, at, action, subject_id, actor, reason, details
    from audit
    where (cast(:subject_id as text) is null or subject_id = :subject_id)
      and (cast(:cursor as bigint) is null or id < :cursor)
    order by id desc
    limit :limit
    """,
).columns(details=JSONB)


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
    conn: AsyncConnection,
    *,
    action: str,
    subject_id: str,
    actor: str,
    reason: str | None = None,
    details: Mapping[str, Any] | None = None,
    now: datetime | None,
) -> None:
    """Add an entry, in the transaction of what it tells of."""
    await conn.execute(
        _RECORD,
        {
            "now": now,
            "action": action,
            "subject_id": subject_id,
            "actor": actor,
            "reason": reason,
            "details": dict(details or {}),
        },
    )


async def find(
    conn: AsyncConnection,
    *,
    subject_id: str | None = None,
    cursor: int | None = None,
    limit: int = 100,
) -> Sequence[Entry]:
    """Return entries, newest first; `cursor` is the `id` of the last one seen."""
    rows = await conn.execute(_FIND, {"subject_id": subject_id, "cursor": cursor, "limit": limit})
    return [Entry(**row) for row in rows.mappings()]


def add_tables(metadata: MetaData) -> None:
    """Add the table `audit` to a service's schema."""
    Table(
        "audit",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("at", DateTime(timezone=True), nullable=False),
        Column("action", Text, nullable=False),
        Column("subject_id", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("reason", Text),
        Column("details", JSONB, nullable=False),
        Index("audit_by_subject", "subject_id", "id"),
    )
