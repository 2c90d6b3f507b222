"""When autovacuum looks after a table; and the index of the newest sagas grows at its end, as they come.

Old code on the new schema: notices nothing. What writes to `sagas` waits while the index is built: about a second for a
million rows.
"""

from collections.abc import Sequence

from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TABLES = {
    "sagas": chassis.HISTORY,
    "steps": chassis.PURGED,
    "compensations": chassis.PURGED,
    "signals": chassis.PURGED,
    **chassis.VACUUMED,
}


def upgrade() -> None:
    chassis.set_storage(Operations(op.get_context()), TABLES)
    op.drop_index("sagas_newest", "sagas")
    op.create_index("sagas_newest", "sagas", ["created_at", "id"])


def downgrade() -> None:
    op.drop_index("sagas_newest", "sagas")
    op.execute("CREATE INDEX sagas_newest ON sagas (created_at DESC, id DESC)")
    chassis.reset_storage(Operations(op.get_context()), TABLES)
