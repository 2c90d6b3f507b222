"""Shipments, one per order, with the chassis's idempotency keys and audit log.

Old code on the new schema: there is none, this is the first.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    operations = Operations(op.get_context())
    chassis.create_audit(operations)
    chassis.create_idempotency(operations)
    op.create_table(
        "shipments",
        sa.Column("order_id", sa.Text, primary_key=True),
        sa.Column("status", sa.Text, nullable=False),
        sa.Column("shipment_id", sa.Text, unique=True),
        sa.Column("attempt", sa.Integer),
        sa.Column("fingerprint", sa.Text),
        sa.Column("carrier", sa.Text),
        sa.Column("parcel_id", sa.Text),
        sa.Column("tracking_number", sa.Text),
        sa.Column("refusal", sa.Text),
        sa.Column("uncertain", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("undo_owed", sa.Boolean, nullable=False, server_default=sa.text("false")),
        sa.Column("epoch", sa.BigInteger, nullable=False, server_default=sa.text("0")),
        sa.Column("leased_until", sa.DateTime(timezone=True)),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status in ('creating', 'registered', 'refused', 'cancelled', 'delivered')", name="shipments_status"
        ),
        sa.CheckConstraint("leased_until is null or status = 'creating'", name="shipments_lease_while_creating"),
        sa.CheckConstraint("not undo_owed or status in ('refused', 'cancelled')", name="shipments_undo_of_what_ended"),
        sa.CheckConstraint(
            "status not in ('registered', 'delivered')"
            " or (shipment_id is not null and carrier is not null and tracking_number is not null)",
            name="shipments_registered_has_a_parcel",
        ),
        sa.CheckConstraint("(status = 'refused') <= (refusal is not null)", name="shipments_refused_says_why"),
    )
    op.create_index("shipments_by_undo_owed", "shipments", ["updated_at"], postgresql_where=sa.text("undo_owed"))


def downgrade() -> None:
    operations = Operations(op.get_context())
    op.drop_table("shipments")
    chassis.drop_idempotency(operations)
    chassis.drop_audit(operations)
