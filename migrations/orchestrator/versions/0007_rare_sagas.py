"""An index of the sagas that people look for and that are rare: paused, stuck, compensating, failed, cancelled.

Old code on the new schema: notices nothing. What writes to `sagas` waits while the index is built: about a second for a
million rows.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_index(
        "sagas_rare",
        "sagas",
        ["run_state", "outcome", "created_at", "id"],
        postgresql_where=sa.text("outcome in ('failed', 'cancelled') or run_state in ('paused', 'stuck')"),
    )


def downgrade() -> None:
    op.drop_index("sagas_rare", "sagas")
