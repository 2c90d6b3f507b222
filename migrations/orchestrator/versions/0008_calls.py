"""Calls of sagas by sagas: a kind of signals, who waits for an end, and an index of the ends that are yet to be told.

Old code on the new schema: notices nothing, as the new column has a default; it tells nobody of an end, which a new
replica then does. It cannot read the signal of a call: register a workflow that begins to call as a new version, or
when the deployment is through. What writes to `sagas` and `signals` waits while the indexes are built and the kinds of
signals are checked: about a second for a million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

KINDS = "kind in ('awakeable', 'promise', 'child')"
KINDS_BEFORE = "kind in ('awakeable', 'promise')"


def upgrade() -> None:
    op.add_column("sagas", sa.Column("awaited", sa.Boolean(), nullable=False, server_default=sa.text("false")))
    op.create_index("sagas_awaited_ends", "sagas", ["id"], postgresql_where=sa.text("phase = 'ended' and awaited"))
    op.drop_constraint("signals_kind", "signals")
    op.create_check_constraint("signals_kind", "signals", KINDS)
    op.create_index("signals_of_children", "signals", ["name"], postgresql_where=sa.text("kind = 'child'"))
    op.create_table(
        "awaiting",
        sa.Column("child_id", sa.UUID(), nullable=False),
        sa.Column("parent_id", sa.UUID(), nullable=False),
        sa.PrimaryKeyConstraint("child_id", "parent_id"),
    )
    chassis.set_storage(Operations(op.get_context()), {"awaiting": chassis.PURGED})


def downgrade() -> None:
    op.drop_table("awaiting")
    op.drop_index("signals_of_children", "signals")
    op.drop_constraint("signals_kind", "signals")
    op.create_check_constraint("signals_kind", "signals", KINDS_BEFORE)
    op.drop_index("sagas_awaited_ends", "sagas")
    op.drop_column("sagas", "awaited")
