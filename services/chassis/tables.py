"""The tables of the chassis, as parts of the services' schemas, which Alembic compares with a database.

Who serves loads none of this: what runs are the statements of the .sql files.
"""

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
    )
