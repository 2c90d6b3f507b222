"""The statements of shipping that take locks: their plans on a large table."""

from services.chassis.postgres.connecting import connect
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.shipping.store.queries import queries
from tests.support import plans

ROWS = 50_000


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
    connection = await connect(shipping_database.url, "plans")
    try:
        for name, statement in queries().items():
            assert not plans.read_whole(await plans.of(connection, statement), {"shipments"}), name
    finally:
        await connection.close()
