"""The oldest message that waits is the first of an index, so that measuring it does not read all keys.

Old code on the new schema: notices nothing. What writes to the outbox waits while the index is built: a moment for the
keys that wait at the time, which are few unless a receiver is away.
"""

from collections.abc import Sequence

from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    chassis.index_waits(Operations(op.get_context()))


def downgrade() -> None:
    chassis.drop_index_of_waits(Operations(op.get_context()))
