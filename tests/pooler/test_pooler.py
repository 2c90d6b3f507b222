"""PgBouncer in transaction mode in front of Postgres: what services insist on there, and that nothing is a session's.

`make pgbouncer-test` runs these and all orders through it. Skipped where no PgBouncer is installed.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from dev import pgbouncer
from dev.pgbouncer import Pooler
from services.chassis.errors import SettingsError
from services.chassis.postgres.connecting import LIMITS, is_pooled
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support import server
from tests.support.clock import ManualClock
from tests.support.system import System, running

SERVICES = ("session", "shipping", "orchestrator")
AT_ONCE = 40
pytestmark = pytest.mark.skipif(bool(pgbouncer.why_not()), reason=pgbouncer.why_not() or "it is there")


@pytest.fixture(scope="module")
def pooler() -> Iterator[Pooler]:
    """A pooler that has two connections for each database, so that every one of them is everybody's."""
    started = pgbouncer.start(server.server().url(), pool_size=2)
    yield started
    started.stop()


@pytest.fixture
async def databases(pooler: Pooler, worker_id: str) -> AsyncIterator[dict[str, str]]:
    """Fresh databases of all services, at the pooler's addresses."""
    names = {service: f"pooled_{service}_{worker_id}" for service in SERVICES}
    for service, name in names.items():
        await server.clone(service, name)
    yield {service: pooler.url(name) for service, name in names.items()}
    for name in names.values():
        await server.execute(server.server(), f"DROP DATABASE {name} WITH (FORCE)")


async def test_orders_are_done_through_a_pooler(databases: dict[str, str], clock: ManualClock) -> None:
    """Three services with pools of ten share two connections each: paid, rejected and cancelled orders all add up."""
    async with running(databases, clock) as product:
        await product.shelve("book", 10)
        await lived(product)
        await product.check_balance()
        ends = {order_id: await product.status(order_id) for order_id in product.placed}
    assert ends == {"order-1": "completed", "order-2": "rejected", "order-3": "payment_failed", "order-4": "cancelled"}


async def lived(product: System) -> None:
    """Four orders, each with another end."""
    for number, token in enumerate(("tok_ok", "tok_ok", "tok_decline", "tok_manual"), start=1):
        await product.place(f"order-{number}", payment_token=token)
        await product.settle()
    await asyncio.gather(product.decide("order-1"), product.decide("order-2", "reject"), product.cancel("order-4"))
    await product.settle()
    for _ in range(4):
        await product.pass_time(10)


async def test_statements_find_their_connection(databases: dict[str, str]) -> None:
    """Many connections of ours on two of the server's: transactions and single statements never meet another's."""
    database = Database(databases["session"], application_name="test", pool_size=AT_ONCE)
    statement = Statement.of("select cast(:value as text) as value")
    hide = Statement.of("select set_config('application.secret', :value, true)")
    count = Statement.of(
        "select count(*) from pg_stat_activity where datname = current_database() and backend_type = 'client backend'"
    )

    async def all_ways(value: str) -> list[str]:
        async with database.begin() as conn:
            first = await conn.scalar(statement, {"value": value})
            await conn.affect(hide, {"value": value})
            second = await conn.scalar(Statement.of("select current_setting('application.secret')"))
            between = (await conn.fetch(statement, {"value": value}))[0]["value"]
        async with database.autocommit() as direct:
            third = (await direct.fetch(statement, {"value": value}))[0]["value"]
        async with database.autocommit() as conn:
            fourth = await conn.scalar(statement, {"value": value})
            servers = await conn.scalar(count)
        assert servers <= 2
        return [first, between, second, third, fourth]

    values = [f"value {number}" for number in range(AT_ONCE)]
    try:
        for _ in range(3):
            answers = await asyncio.gather(*map(all_ways, values))
            assert answers == [[value] * 5 for value in values]
    finally:
        await database.close()


async def test_a_pooler_without_limits_is_refused(databases: dict[str, str]) -> None:
    """Where statements, locks and idle transactions could wait for ever, a service does not start, and says why."""
    careless = pgbouncer.start(server.server().url(), limits=False)
    name = databases["session"].rpartition("/")[2].partition("?")[0]
    database = Database(careless.url(name), application_name="test")
    try:
        with pytest.raises(SettingsError) as caught:
            await database.check_durability()
    finally:
        await database.close()
        careless.stop()
    assert [fault.split()[3].rstrip(";") for fault in caught.value.faults] == list(LIMITS)
    careful = Database(databases["session"], application_name="test")
    await careful.check_durability()
    await careful.close()


def test_an_address_says_what_answers_there() -> None:
    """Only `pooler=transaction` is known; anything else is a mistake, and told."""
    assert is_pooled("postgresql://h/d?pooler=transaction")
    assert not is_pooled("postgresql://h/d")
    with pytest.raises(ValueError, match="pooler"):
        is_pooled("postgresql://h/d?pooler=session")
