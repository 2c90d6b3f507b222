"""When autovacuum looks after a table.

Old code on the new schema: notices nothing.
"""

from collections.abc import Sequence

from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TABLES = {
    "shipments": chassis.HISTORY,
    "audit": chassis.VACUUMED["audit"],
    "idempotency": chassis.VACUUMED["idempotency"],
}


def upgrade() -> None:
    chassis.set_storage(Operations(op.get_context()), TABLES)


def downgrade() -> None:
    chassis.reset_storage(Operations(op.get_context()), TABLES)
