"""The statements of shipping that take locks: their plans on a large table, and that all are used."""

import re
from pathlib import Path

from services.chassis.db import Database
from services.chassis.sql import Statement
from services.shipping.store.shipments import QUERIES

ROWS = 50_000
VALUES = {
    "order_id": "order-7",
    "shipment_id": "shp_x",
    "attempt": 1,
    "fingerprint": "f",
    "lease_s": 15.0,
    "uncertain": True,
    "epoch": 1,
    "delivered": False,
    "carrier": "c",
    "parcel_id": "p",
    "tracking_number": "t",
    "refusal": "r",
    "undo_owed": True,
    "age_s": 30.0,
    "limit": 20,
    "now": None,
}


async def test_every_statement_uses_an_index(shipping_database: Database) -> None:
    """On a large table no statement reads it whole."""
    async with shipping_database.begin() as conn:
        await conn.fetch(
            Statement.of(
                "insert into shipments (order_id, status, undo_owed, created_at, updated_at)"
                " select 'order-' || n, 'cancelled', n % 1000 = 0, now() - interval '1 hour', now() - interval '1 hour'"
                f" from generate_series(1, {ROWS}) n"
            )
        )
        await conn.fetch(Statement.of("analyze shipments"))
        for name, statement in QUERIES.items():
            wanted = {key: VALUES[key] for key in statement.parameters}
            plan = [line for (line,) in await conn.fetch(Statement.of(f"explain {statement.text}"), wanted)]
            assert not [line for line in plan if "Seq Scan on shipments" in line], (name, plan)


def test_every_statement_is_used() -> None:
    """queries.sql holds nothing that the store does not use, and the store nothing that is not there."""
    source = (Path(__file__).parents[3] / "services/shipping/store/shipments.py").read_text()
    assert set(re.findall(r'QUERIES\["(\w+)"\]', source)) == set(QUERIES)
