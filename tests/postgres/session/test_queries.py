"""The hand-written statements: each finds its rows by an index, and pairs of them never lock up."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from asyncpg import LockNotAvailableError

from services.chassis.postgres.connecting import connect
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.chassis.security.sealing import Sealer
from services.session import store
from services.session.domain.cart import Product
from services.session.domain.checkout import CheckoutRequest
from services.session.domain.order import Address, OrderUpdate
from services.session.store import carts, checkouts, erasure, orders, products, reservations
from services.session.store.queries import queries
from tests.support import plans
from tests.support.waiters import until_somebody_waits

FOLDER = Path(store.__file__).parent
NOW: Final = datetime(2026, 11, 24, tzinfo=UTC)
ROWS = 5_000

NARROWED: Final[dict[str, list[tuple[str, ...]]]] = {
    "orders_of": [(), ("of_this_id",), ("of_status",), ("placed_before",), ("of_status", "placed_before")],
}
"""With which conditions the code narrows a statement."""
TABLES: Final = (
    "products",
    "carts",
    "cart_items",
    "orders",
    "attempts",
    "order_history",
    "reservations",
    "reservation_items",
)
CONDITIONS = {name for narrowings in NARROWED.values() for conditions in narrowings for name in conditions}

FILL = f"""
INSERT INTO products SELECT 'sku-' || n, 'Thing', 100, 'USD', 1000, 0 FROM generate_series(1, {ROWS}) n;
INSERT INTO carts SELECT 'user-' || n, 1 FROM generate_series(1, {ROWS}) n;
INSERT INTO cart_items SELECT 'user-' || n, 'sku-' || n, 1 FROM generate_series(1, {ROWS}) n;
INSERT INTO orders SELECT 'order-' || n, 'user-' || n, 1, 'approved', false, now(), now()
    FROM generate_series(1, {ROWS}) n;
INSERT INTO attempts SELECT 'order-' || n, 1, '[]', 100, 'USD', '"sealed"', 't', 'k', now()
    FROM generate_series(1, {ROWS}) n;
INSERT INTO order_history (order_id, attempt, at, status, detail)
    SELECT 'order-' || n, 1, now(), 'approved', '' FROM generate_series(1, {ROWS}) n;
INSERT INTO reservations SELECT 'order-' || n, 1, 'held', NULL, now(), NULL FROM generate_series(1, {ROWS}) n;
INSERT INTO reservation_items SELECT 'order-' || n, 1, 'sku-' || n, 1 FROM generate_series(1, {ROWS}) n;
ANALYZE products, carts, cart_items, orders, attempts, order_history, reservations, reservation_items
"""


async def test_no_statement_reads_a_whole_table(session_database: Database) -> None:
    """On tables of 5,000 rows every statement finds its rows by an index."""
    async with session_database.begin() as conn:
        for statement in FILL.split(";\n"):
            await conn.fetch(Statement.of(statement))
    connection = await connect(session_database.url, "plans")
    try:
        for name in sorted(queries().names - CONDITIONS):
            for conditions in NARROWED.get(name, [()]):
                plan = await plans.of(connection, queries().narrowed(name, *conditions))
                assert not plans.read_whole(plan, TABLES), (name, conditions, plan)
    finally:
        await connection.close()


def test_only_this_file_locks_rows() -> None:
    """No other statement of the store takes a row lock by itself; there is none."""
    code = "\n".join(path.read_text() for path in FOLDER.glob("*.py"))
    assert "Statement.of" not in code
    assert not re.search(r"FOR (NO KEY )?UPDATE|ON CONFLICT", code, re.IGNORECASE)


HOME = Address("Ada", "1 Main St", "London", "N1", "GB")
Work = Callable[[Connection], Awaitable[object]]


async def add(conn: Connection) -> None:
    before = await carts.lock(conn, "alice")
    after = before.with_quantity(await products.get(conn, "mug"), before.quantity("mug") + 1)
    await carts.save(conn, before, after)


async def check_out(conn: Connection) -> None:
    await checkouts.place(conn, CheckoutRequest("alice", "order-1", HOME, "t", "k"), sealer=Sealer(["key"]), now=NOW)


async def execute(conn: Connection) -> None:
    await checkouts.mark_executed(conn, "order-1", 1, now=NOW)


async def reserve(conn: Connection) -> None:
    await orders.lock(conn, "order-1")
    await reservations.reserve(conn, "order-1", 1, {"book": 1, "mug": 1}, now=NOW)


async def reserve_another(conn: Connection) -> None:
    await reservations.reserve(conn, "order-2", 1, {"book": 1, "mug": 1}, now=NOW)


async def release(conn: Connection) -> None:
    await reservations.release(conn, "order-1", 1, now=NOW)


async def ship(conn: Connection) -> None:
    await orders.apply(conn, OrderUpdate("order-1", 1, "shipped", None, None, None), now=NOW)
    await reservations.sell(conn, "order-1", 1, now=NOW)


async def cancel(conn: Connection) -> None:
    await orders.request_cancel(conn, "alice", "order-1", now=NOW)


async def edit(conn: Connection) -> None:
    await products.put(conn, Product("book", "Book", 1999, "USD", 0), on_hand=100)


async def erase(conn: Connection) -> None:
    await erasure.erase(conn, "alice")


WORKS: list[Work] = [add, check_out, execute, reserve, reserve_another, release, ship, cancel, edit, erase]


@pytest.mark.scenario("X13")
async def test_pairs_of_transactions_never_deadlock(session_database: Database) -> None:
    """Every two kinds of transaction, run against each other, end: they may refuse, they never lock up."""
    async with session_database.begin() as conn:
        for sku in ("book", "mug"):
            await products.put(conn, Product(sku, sku, 1999, "USD", 0), on_hand=100)
        await add(conn)
        await check_out(conn)

    async def run(work: Work) -> str:
        try:
            async with session_database.begin() as conn:
                await work(conn)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test judges it
            return type(error).__name__
        return "done"

    refusals = {"done", "NotReserved", "StockSold", "OrderShipped", "OrdersOpen", "LineLimit", "UnknownSku"}
    for first in WORKS:
        for second in WORKS:
            ended = await asyncio.gather(*(run(work) for work in (first, second) * 2))
            assert set(ended) <= refusals, (first.__name__, second.__name__, ended)


async def has_taken(database: Database, sku: str) -> bool:
    """Say whether somebody has locked a product."""
    try:
        async with database.begin() as conn:
            await conn.fetch(Statement.of("select from products where sku = :sku for update nowait"), {"sku": sku})
    except LockNotAvailableError:
        return True
    return False


@pytest.mark.scenario("X13")
@pytest.mark.parametrize("work", [reserve_another, release, ship])
async def test_products_are_locked_by_their_skus(session_database: Database, work: Work) -> None:
    """Who waits for a product has locked those before it, and none behind it: no two can wait for each other."""
    async with session_database.begin() as conn:
        for sku in ("book", "mug"):
            await products.put(conn, Product(sku, sku, 1999, "USD", 0), on_hand=100)
        await reserve(conn)

    async def run() -> None:
        """Do it, and take it back."""
        with suppress(ZeroDivisionError):
            async with session_database.begin() as conn:
                await work(conn)
                raise ZeroDivisionError

    for sku, other, is_taken in (("mug", "book", True), ("book", "mug", False)):
        async with session_database.begin() as conn:
            await conn.fetch(Statement.of("select from products where sku = :sku for update"), {"sku": sku})
            working = asyncio.create_task(run())
            await until_somebody_waits(session_database)
            assert await has_taken(session_database, other) == is_taken
        await working
