"""The rows that the engine's batched statements take, as types: one array of rows instead of an array for each column.

A type is never altered, because connections remember its columns: a change of what is sent is a new type.

Old code on the new schema: knows nothing of them, and goes on.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TYPES = """
CREATE TYPE saga_start AS (
    id uuid,
    workflow text,
    version integer,
    key text,
    subject text,
    parent_id uuid,
    traceparent text,
    delay_s double precision,
    input text,
    leased boolean
);

CREATE TYPE saga_flush AS (
    id uuid,
    epoch bigint,
    flush_no bigint,
    knows integer,
    expired integer,
    phase text,
    run_state text,
    outcome text,
    due_at timestamptz,
    undo_no integer,
    takeovers integer,
    faults integer,
    no_return boolean,
    calls text,
    waits text,
    progress text,
    error_code text,
    error_message text,
    attention text,
    output text
);

CREATE TYPE step_record AS (
    flush integer,
    position text,
    kind text,
    name text,
    attempts integer,
    started_at double precision,
    finished_at double precision,
    output text,
    error_code text,
    error_message text
);

CREATE TYPE undo_record AS (
    flush integer,
    seq integer,
    name text,
    position text,
    step_position text,
    args text
);

CREATE TYPE undo_change AS (
    flush integer,
    position text,
    status text,
    attempts integer,
    error_code text,
    error_message text,
    started_at timestamptz,
    finished_at timestamptz
);

CREATE TYPE signal_opening AS (
    flush integer,
    name text,
    kind text,
    shape text,
    expects text,
    opened_at timestamptz,
    until timestamptz
);

CREATE TYPE signal_settlement AS (
    saga_id uuid,
    name text,
    kind text,
    status text,
    value text,
    error_code text,
    error_message text,
    identity text,
    settled_by text,
    epoch bigint
);
"""


def upgrade() -> None:
    for statement in filter(None, map(str.strip, TYPES.split(";"))):
        op.execute(sa.text(statement))


def downgrade() -> None:
    op.execute(
        sa.text(
            "DROP TYPE saga_start, saga_flush, step_record, undo_record, undo_change, signal_opening, signal_settlement"
        )
    )
