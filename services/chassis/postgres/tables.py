"""The tables of the chassis, as parts of the services' schemas, which Alembic compares with a database.

Who serves loads none of this: what runs are the statements of the .sql files.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy import Sequence as DatabaseSequence
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

# When autovacuum looks after a table. Postgres' default, a fifth of its rows, suits tables whose rows change all alike.

HISTORY: Final[Mapping[str, str]] = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "1000"}
"""For tables that keep what has ended, while the newest few rows change.

A fifth of such a table would be the changes of weeks, all of them among rows that are read at every moment. From a
fiftieth on a vacuum cleans the indexes too; with fewer pages to clean than that, Postgres leaves them alone.
"""
PURGED: Final[Mapping[str, str]] = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_threshold": "1000"}
"""For tables whose rows are deleted by their age: the place of every twentieth is free again for the newest."""
QUEUE: Final[Mapping[str, str]] = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
}
"""For tables whose rows stay for a moment: a vacuum after so many, however many there were when they were last counted.

Such a table is small, so its vacuum does not rest in between: whoever looks for the next row passes all that are dead.
"""
UNCHANGING: Final[Mapping[str, str]] = {"autovacuum_freeze_min_age": "0"}
"""For tables whose rows are kept as they are written: a vacuum is done with what it has seen once.

Otherwise it would come back for all of it, years later and at once, before transaction ids wrap around.
"""


def add_audit(metadata: MetaData) -> None:
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
        postgresql_with=dict(UNCHANGING),
    )


def add_idempotency(metadata: MetaData) -> None:
    """Add the table `idempotency` to a service's schema."""
    Table(
        "idempotency",
        metadata,
        Column("caller", Text, primary_key=True),
        Column("route", Text, primary_key=True),
        Column("key", Text, primary_key=True),
        Column("fingerprint", Text, nullable=False),
        Column("status", Integer, nullable=False),
        Column("body", Text, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Index("idempotency_by_age", "created_at"),
        postgresql_with=dict(PURGED),
    )


def add_inbox(metadata: MetaData) -> None:
    """Add the table `inbox` to a service's schema."""
    Table(
        "inbox",
        metadata,
        Column("source", Text, primary_key=True),
        Column("message_id", Text, primary_key=True),
        Column("received_at", DateTime(timezone=True), nullable=False),
        Index("inbox_by_age", "received_at"),
        postgresql_with=dict(PURGED),
    )


def add_outbox(metadata: MetaData) -> None:
    """Add the outbox (`outbox_keys`, `outbox` and the sequence of epochs) to a service's schema."""
    DatabaseSequence("outbox_epoch", metadata=metadata)
    Table(
        "outbox_keys",
        metadata,
        Column("key", Text, primary_key=True),
        Column("last_seq", BigInteger, nullable=False),
        Column("due_at", DateTime(timezone=True)),
        Column("leased", Boolean, nullable=False, server_default=text("false")),
        Column("epoch", BigInteger, nullable=False, server_default=text("0")),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("waiting_since", DateTime(timezone=True), nullable=False),
        Column("blocked_at", DateTime(timezone=True)),
        CheckConstraint("(due_at is null) = (blocked_at is not null)", name="outbox_keys_due_unless_blocked"),
        CheckConstraint("not (leased and blocked_at is not null)", name="outbox_keys_blocked_is_not_leased"),
        Index("outbox_keys_by_due", "due_at", postgresql_where=text("due_at is not null")),
        Index("outbox_keys_by_wait", "waiting_since", postgresql_where=text("blocked_at is null")),
        postgresql_with=dict(QUEUE),
    )
    Table(
        "outbox",
        metadata,
        Column("id", Text, primary_key=True),
        Column("key", Text, nullable=False),
        Column("seq", BigInteger, nullable=False),
        Column("service", Text, nullable=False),
        Column("method", Text, nullable=False),
        Column("path", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("body", Text, nullable=False),
        Column("settled_by", ARRAY(Integer), nullable=False),
        Column("due_at", DateTime(timezone=True)),
        Column("acting_user", Text),
        Column("traceparent", Text),
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("dead_at", DateTime(timezone=True)),
        Column("dead_code", Text),
        Column("dead_detail", Text),
        UniqueConstraint("key", "seq", name="outbox_in_sequence"),
        Index("outbox_dead", "dead_at", postgresql_where=text("dead_at is not null")),
        postgresql_with=dict(QUEUE),
    )
