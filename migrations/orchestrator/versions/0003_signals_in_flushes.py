"""A flush may take its lease, and settle the signal that its turn began with.

Old code on the new schema: knows nothing of the new types, and goes on with those that they replace.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TYPES = """
CREATE TYPE saga_write AS (
    id uuid,
    epoch bigint,
    owner text,
    lease_s double precision,
    flush_no bigint,
    knows integer,
    closes integer,
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

CREATE TYPE signal_write AS (
    flush integer,
    name text,
    kind text,
    status text,
    shape text,
    expects text,
    value text,
    error_code text,
    error_message text,
    identity text,
    settled_by text,
    opened_at timestamptz,
    until timestamptz,
    settled_at timestamptz
);

CREATE TYPE signal_proposal AS (
    saga_id uuid,
    name text,
    kind text,
    status text,
    value text,
    error_code text,
    error_message text,
    identity text,
    settled_by text
);
"""


def upgrade() -> None:
    for statement in filter(None, map(str.strip, TYPES.split(";"))):
        op.execute(sa.text(statement))


def downgrade() -> None:
    op.execute(sa.text("DROP TYPE saga_write, signal_write, signal_proposal"))
