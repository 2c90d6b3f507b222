"""The chassis's tables as of their version 1, for the services' migrations; frozen: a change is a new function."""

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa
from alembic.operations import Operations
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

_TIMESTAMP = sa.DateTime(timezone=True)

Storage = Mapping[str, str]

HISTORY: Final[Storage] = {"autovacuum_vacuum_scale_factor": "0.02", "autovacuum_vacuum_threshold": "1000"}
PURGED: Final[Storage] = {"autovacuum_vacuum_scale_factor": "0.05", "autovacuum_vacuum_threshold": "1000"}
QUEUE: Final[Storage] = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "1000",
    "autovacuum_vacuum_cost_delay": "0",
}
UNCHANGING: Final[Storage] = {"autovacuum_freeze_min_age": "0"}
VACUUMED: Final[Mapping[str, Storage]] = {
    "outbox_keys": QUEUE,
    "outbox": QUEUE,
    "inbox": PURGED,
    "idempotency": PURGED,
    "audit": UNCHANGING,
}
"""When autovacuum looks after the tables of the chassis; the reasons are beside the tables."""


def set_storage(op: Operations, tables: Mapping[str, Storage]) -> None:
    """Set the storage parameters of tables; nobody who reads or writes them waits for it."""
    for table, storage in tables.items():
        settings = ", ".join(f"{name} = {value}" for name, value in storage.items())
        op.execute(f"ALTER TABLE {table} SET ({settings})")


def reset_storage(op: Operations, tables: Mapping[str, Storage]) -> None:
    for table, storage in tables.items():
        op.execute(f"ALTER TABLE {table} RESET ({', '.join(storage)})")


def create_outbox(op: Operations) -> None:
    """Create `outbox_keys`, `outbox` and the sequence of epochs; the relay needs `audit` as well."""
    op.execute(sa.schema.CreateSequence(sa.Sequence("outbox_epoch")))
    op.create_table(
        "outbox_keys",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("last_seq", sa.BigInteger, nullable=False),
        sa.Column("due_at", _TIMESTAMP),
        sa.Column("leased", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("waiting_since", _TIMESTAMP, nullable=False),
        sa.Column("blocked_at", _TIMESTAMP),
        sa.CheckConstraint("(due_at is null) = (blocked_at is not null)", name="outbox_keys_due_unless_blocked"),
        sa.CheckConstraint("not (leased and blocked_at is not null)", name="outbox_keys_blocked_is_not_leased"),
    )
    op.create_index(
        "outbox_keys_by_due",
        "outbox_keys",
        ["due_at"],
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("settled_by", ARRAY(sa.Integer), nullable=False),
        sa.Column("due_at", _TIMESTAMP),
        sa.Column("acting_user", sa.Text),
        sa.Column("traceparent", sa.Text),
        sa.Column("created_at", _TIMESTAMP, nullable=False),
        sa.Column("dead_at", _TIMESTAMP),
        sa.Column("dead_code", sa.Text),
        sa.Column("dead_detail", sa.Text),
        sa.UniqueConstraint("key", "seq", name="outbox_in_sequence"),
    )
    op.create_index("outbox_dead", "outbox", ["dead_at"], postgresql_where=sa.text("dead_at is not null"))


def drop_outbox(op: Operations) -> None:
    op.drop_table("outbox")
    op.drop_table("outbox_keys")
    op.execute(sa.schema.DropSequence(sa.Sequence("outbox_epoch")))


def index_waits(op: Operations) -> None:
    """Add the index by which the oldest message that waits is found; who writes to the outbox waits for it."""
    op.create_index(
        "outbox_keys_by_wait",
        "outbox_keys",
        ["waiting_since"],
        postgresql_where=sa.text("blocked_at is null"),
    )


def drop_index_of_waits(op: Operations) -> None:
    op.drop_index("outbox_keys_by_wait", "outbox_keys")


def create_inbox(op: Operations) -> None:
    op.create_table(
        "inbox",
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("message_id", sa.Text, primary_key=True),
        sa.Column("received_at", _TIMESTAMP, nullable=False),
    )
    op.create_index("inbox_by_age", "inbox", ["received_at"])


def drop_inbox(op: Operations) -> None:
    op.drop_table("inbox")


def create_idempotency(op: Operations) -> None:
    op.create_table(
        "idempotency",
        sa.Column("caller", sa.Text, primary_key=True),
        sa.Column("route", sa.Text, primary_key=True),
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("fingerprint", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("headers", JSONB, nullable=False),
        sa.Column("created_at", _TIMESTAMP, nullable=False),
    )
    op.create_index("idempotency_by_age", "idempotency", ["created_at"])


def drop_idempotency(op: Operations) -> None:
    op.drop_table("idempotency")


def create_audit(op: Operations) -> None:
    op.create_table(
        "audit",
        sa.Column("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
        sa.Column("at", _TIMESTAMP, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("subject_id", sa.Text, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("reason", sa.Text),
        sa.Column("details", JSONB, nullable=False),
    )
    op.create_index("audit_by_subject", "audit", ["subject_id", "id"])


def drop_audit(op: Operations) -> None:
    op.drop_table("audit")
