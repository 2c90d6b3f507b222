"""Drop the types of rows that nothing sends any more: since 0003 there are others in their place.

Old code on the new schema: goes on if it is of revision 0003 or later. That of 0002 names these types in its
statements, and must be gone before.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TYPES = """
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
    op.execute(sa.text("DROP TYPE saga_flush, signal_settlement"))


def downgrade() -> None:
    for statement in filter(None, map(str.strip, TYPES.split(";"))):
        op.execute(sa.text(statement))
