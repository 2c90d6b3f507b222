"""Catalogue and stock, baskets, orders with attempts and history, reservations; the chassis's tables.

Old code on the new schema: there is none.
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

TABLES = """
CREATE TABLE products (
    sku text PRIMARY KEY,
    name text NOT NULL,
    price_minor bigint NOT NULL,
    currency text NOT NULL,
    on_hand integer NOT NULL,
    held integer DEFAULT 0 NOT NULL,
    CONSTRAINT products_price CHECK (price_minor >= 0),
    CONSTRAINT products_held CHECK (held >= 0 AND held <= on_hand)
);

CREATE TABLE carts (
    user_id text PRIMARY KEY,
    version bigint DEFAULT 0 NOT NULL
);

CREATE TABLE cart_items (
    user_id text NOT NULL REFERENCES carts (user_id),
    sku text NOT NULL REFERENCES products (sku),
    quantity integer NOT NULL,
    PRIMARY KEY (user_id, sku),
    CONSTRAINT cart_items_quantity CHECK (quantity BETWEEN 1 AND 999)
);

CREATE TABLE orders (
    order_id text PRIMARY KEY,
    user_id text NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,
    checkout_open boolean NOT NULL,
    placed_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    CONSTRAINT orders_attempt CHECK (attempt >= 1),
    CONSTRAINT orders_status CHECK (status IN (
        'pending_payment', 'awaiting_approval', 'approved', 'shipped', 'completed', 'payment_failed', 'payment_expired',
        'out_of_stock', 'rejected', 'approval_expired', 'shipment_failed', 'cancelled', 'needs_attention'
    )),
    CONSTRAINT orders_checkout_open CHECK (
        NOT checkout_open OR status IN ('pending_payment', 'awaiting_approval', 'approved', 'needs_attention')
    )
);

CREATE UNIQUE INDEX orders_one_open_checkout ON orders (user_id) WHERE checkout_open;

CREATE INDEX orders_by_user ON orders (user_id, placed_at, order_id);

CREATE TABLE attempts (
    order_id text NOT NULL REFERENCES orders (order_id),
    attempt integer NOT NULL,
    lines jsonb NOT NULL,
    total_minor bigint NOT NULL,
    currency text NOT NULL,
    address jsonb NOT NULL,
    token_hash text NOT NULL,
    key_hash text NOT NULL,
    placed_at timestamptz NOT NULL,
    executed_at timestamptz,
    payment jsonb,
    shipment jsonb,
    PRIMARY KEY (order_id, attempt),
    CONSTRAINT attempts_attempt CHECK (attempt >= 1)
);

CREATE TABLE order_history (
    order_id text NOT NULL REFERENCES orders (order_id),
    entry_no bigint GENERATED ALWAYS AS IDENTITY,
    attempt integer NOT NULL,
    at timestamptz NOT NULL,
    status text NOT NULL,
    detail text NOT NULL,
    PRIMARY KEY (order_id, entry_no)
);

CREATE TABLE reservations (
    order_id text NOT NULL,
    attempt integer NOT NULL,
    status text NOT NULL,
    refused_sku text,
    created_at timestamptz NOT NULL,
    settled_at timestamptz,
    PRIMARY KEY (order_id, attempt),
    CONSTRAINT reservations_status CHECK (status IN ('held', 'sold', 'released', 'refused')),
    CONSTRAINT reservations_refused CHECK ((status = 'refused') = (refused_sku IS NOT NULL)),
    CONSTRAINT reservations_settled CHECK ((status = 'held') = (settled_at IS NULL))
);

CREATE TABLE reservation_items (
    order_id text NOT NULL,
    attempt integer NOT NULL,
    sku text NOT NULL REFERENCES products (sku),
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, attempt, sku),
    FOREIGN KEY (order_id, attempt) REFERENCES reservations (order_id, attempt),
    CONSTRAINT reservation_items_quantity CHECK (quantity >= 1)
)
"""


def upgrade() -> None:
    operations = Operations(op.get_context())
    for statement in TABLES.split(";\n"):
        op.execute(sa.text(statement))
    chassis.create_outbox(operations)
    chassis.create_inbox(operations)
    chassis.create_idempotency(operations)
    chassis.create_audit(operations)


def downgrade() -> None:
    operations = Operations(op.get_context())
    chassis.drop_audit(operations)
    chassis.drop_idempotency(operations)
    chassis.drop_inbox(operations)
    chassis.drop_outbox(operations)
    op.execute(
        sa.text(
            "DROP TABLE reservation_items, reservations, order_history, attempts, orders, cart_items, carts, products"
        )
    )
