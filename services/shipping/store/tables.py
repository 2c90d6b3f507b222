"""The tables of shipping.

`shipments` has one row per order, also for orders that were cancelled before they were ever shipped (the tombstone).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from services.chassis.postgres.tables import HISTORY, add_audit, add_idempotency

metadata = MetaData()

shipments = Table(
    "shipments",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("shipment_id", Text, unique=True),
    Column("attempt", Integer),
    Column("fingerprint", Text),
    Column("carrier", Text),
    Column("parcel_id", Text),
    Column("tracking_number", Text),
    Column("refusal", Text),
    Column("uncertain", Boolean, nullable=False, server_default=text("false")),
    Column("undo_owed", Boolean, nullable=False, server_default=text("false")),
    Column("epoch", BigInteger, nullable=False, server_default=text("0")),
    Column("leased_until", DateTime(timezone=True)),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(
        "status in ('creating', 'registered', 'refused', 'cancelled', 'delivered')", name="shipments_status"
    ),
    CheckConstraint("leased_until is null or status = 'creating'", name="shipments_lease_while_creating"),
    CheckConstraint("not undo_owed or status in ('refused', 'cancelled')", name="shipments_undo_of_what_ended"),
    CheckConstraint(
        "status not in ('registered', 'delivered')"
        " or (shipment_id is not null and carrier is not null and tracking_number is not null)",
        name="shipments_registered_has_a_parcel",
    ),
    CheckConstraint("(status = 'refused') <= (refusal is not null)", name="shipments_refused_says_why"),
    Index("shipments_by_undo_owed", "updated_at", postgresql_where=text("undo_owed")),
    postgresql_with=dict(HISTORY),
)

add_audit(metadata)
add_idempotency(metadata)
