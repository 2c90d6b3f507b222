"""The schema of the session database, as SQLAlchemy tables.

A product's `held` counts the pieces that open orders hold; `on_hand - held` is what can be bought. An
order has attempts, each frozen at its checkout; its reservation lives beside it, by order id and
attempt, since the orchestrator may ask for it (or give it back) in any order. `orders.checkout_open`
is true from checkout until the executed mark or the end: a partial unique index keeps it to one per
user. The history only grows.
"""

from sqlalchemy import (
    TIMESTAMP,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from services.chassis.postgres.tables import HISTORY, UNCHANGING, add_audit, add_idempotency, add_inbox, add_outbox

metadata = MetaData()

INSTANT = TIMESTAMP(timezone=True)

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("price_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("on_hand", Integer, nullable=False),
    Column("held", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("price_minor >= 0", name="products_price"),
    CheckConstraint("held >= 0 AND held <= on_hand", name="products_held"),
)

carts = Table(
    "carts",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("version", BigInteger, nullable=False, server_default=text("0")),
)

cart_items = Table(
    "cart_items",
    metadata,
    Column("user_id", Text, ForeignKey("carts.user_id"), nullable=False),
    Column("sku", Text, ForeignKey("products.sku"), nullable=False),
    Column("quantity", Integer, nullable=False),
    PrimaryKeyConstraint("user_id", "sku"),
    CheckConstraint("quantity BETWEEN 1 AND 999", name="cart_items_quantity"),
)

orders = Table(
    "orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("user_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("checkout_open", Boolean, nullable=False),
    Column("placed_at", INSTANT, nullable=False),
    Column("updated_at", INSTANT, nullable=False),
    CheckConstraint("attempt >= 1", name="orders_attempt"),
    CheckConstraint(
        "status IN ('pending_payment', 'awaiting_approval', 'approved', 'shipped', 'completed', 'payment_failed',"
        " 'payment_expired', 'out_of_stock', 'rejected', 'approval_expired', 'shipment_failed', 'cancelled',"
        " 'needs_attention')",
        name="orders_status",
    ),
    CheckConstraint(
        "NOT checkout_open OR status IN ('pending_payment', 'awaiting_approval', 'approved', 'needs_attention')",
        name="orders_checkout_open",
    ),
    Index("orders_one_open_checkout", "user_id", unique=True, postgresql_where=text("checkout_open")),
    Index("orders_by_user", "user_id", "placed_at", "order_id"),
    postgresql_with=dict(HISTORY),
)

attempts = Table(
    "attempts",
    metadata,
    Column("order_id", Text, ForeignKey("orders.order_id"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("total_minor", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("address", JSONB, nullable=False),
    Column("token_hash", Text, nullable=False),
    Column("key_hash", Text, nullable=False),
    Column("placed_at", INSTANT, nullable=False),
    Column("executed_at", INSTANT),
    Column("payment", JSONB),
    Column("shipment", JSONB),
    PrimaryKeyConstraint("order_id", "attempt"),
    CheckConstraint("attempt >= 1", name="attempts_attempt"),
    postgresql_with=dict(HISTORY),
)

order_history = Table(
    "order_history",
    metadata,
    Column("order_id", Text, nullable=False),
    Column("entry_no", BigInteger, Identity(always=True), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", INSTANT, nullable=False),
    Column("status", Text, nullable=False),
    Column("detail", Text, nullable=False),
    PrimaryKeyConstraint("order_id", "entry_no"),
    ForeignKeyConstraint(["order_id"], ["orders.order_id"]),
    postgresql_with=dict(UNCHANGING),
)

reservations = Table(
    "reservations",
    metadata,
    Column("order_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("refused_sku", Text),
    Column("created_at", INSTANT, nullable=False),
    Column("settled_at", INSTANT),
    PrimaryKeyConstraint("order_id", "attempt"),
    CheckConstraint("status IN ('held', 'sold', 'released', 'refused')", name="reservations_status"),
    CheckConstraint("(status = 'refused') = (refused_sku IS NOT NULL)", name="reservations_refused"),
    CheckConstraint("(status = 'held') = (settled_at IS NULL)", name="reservations_settled"),
    postgresql_with=dict(HISTORY),
)

reservation_items = Table(
    "reservation_items",
    metadata,
    Column("order_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("sku", Text, ForeignKey("products.sku"), nullable=False),
    Column("quantity", Integer, nullable=False),
    PrimaryKeyConstraint("order_id", "attempt", "sku"),
    ForeignKeyConstraint(["order_id", "attempt"], ["reservations.order_id", "reservations.attempt"]),
    CheckConstraint("quantity >= 1", name="reservation_items_quantity"),
    postgresql_with=dict(UNCHANGING),
)

add_idempotency(metadata)
add_audit(metadata)
add_outbox(metadata)
add_inbox(metadata)
