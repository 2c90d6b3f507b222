"""A thousand clients who ask for news: they share connections of their own, and the engine keeps its own."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import httpx
import pytest

from services.chassis.inbound.limits import WAITING_SHARE
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.chassis.settings import ChassisSettings
from tests.support.system import System
from tests.system.steps import shipped

CLIENTS: Final = 1_000
PLACES: Final = ChassisSettings().requests_in_progress_max
POOL: Final = ChassisSettings().database_pool_size
OUTCOME: Final = Statement.of("select outcome from sagas where id = :id")


@asynccontextmanager
async def all_connections(database: Database) -> AsyncIterator[None]:
    """Hold every connection that requests may have; it does not work out while anybody holds one."""
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(5):
            for _ in range(POOL):
                await stack.enter_async_context(database.autocommit())
        yield


def ask(system: System, *paths: str) -> list["asyncio.Task[httpx.Response]"]:
    """Send a thousand clients in, who ask for these in turn."""
    headers = system.admin
    return [
        asyncio.create_task(system.call("GET", "orchestrator", paths[number % len(paths)], headers=headers))
        for number in range(CLIENTS)
    ]


async def answers(clients: list["asyncio.Task[httpx.Response]"]) -> Counter[int]:
    """Wait for all; who is refused is told cleanly, and when to come back."""
    found: Counter[int] = Counter()
    for answer in await asyncio.gather(*clients):
        found[answer.status_code] += 1
        assert answer.status_code < 300 or answer.headers["Retry-After"] == "1", answer.text
    return found


async def refusals_are_out(clients: list["asyncio.Task[Any]"], places: int) -> None:
    """Wait until everybody who has no place was sent away."""
    while sum(client.done() for client in clients) < CLIENTS - places:
        await asyncio.sleep(0)


@pytest.mark.scenario("CC8", "G20")
async def test_a_thousand_who_poll_leave_the_engine_its_connections(
    system: System, orchestrator_database: Database
) -> None:
    """While every connection of requests is taken and more wait for one, a saga goes on to its end; then all hear."""
    await shipped(system, "order-1")
    saga_id = (await system.saga("order-1"))["saga_id"]
    state = system.apps["orchestrator"].state
    async with all_connections(state.database):
        clients = ask(
            system, f"/sagas/{saga_id}", "/sagas", "/approvals", f"/sagas/{saga_id}/steps", f"/sagas/{saga_id}/result"
        )
        await refusals_are_out(clients, PLACES)
        system.clock.advance(10)
        await state.engine.run_until_idle()
        async with orchestrator_database.autocommit() as conn:
            assert await conn.scalar(OUTCOME, {"id": saga_id}) == "completed"
        assert sum(client.done() for client in clients) == CLIENTS - PLACES, "they still wait for a connection"
    assert await answers(clients) == {200: PLACES, 503: CLIENTS - PLACES}


@pytest.mark.scenario("CC8", "G20")
async def test_a_thousand_who_wait_hold_no_connection(system: System) -> None:
    """Who waits for an end holds a place and nothing else; the end comes to all of them at once."""
    await shipped(system, "order-1")
    saga_id = (await system.saga("order-1"))["saga_id"]
    state = system.apps["orchestrator"].state
    clients = ask(system, f"/sagas/{saga_id}/result?wait_s=30")
    waiting = PLACES // WAITING_SHARE
    await refusals_are_out(clients, waiting)
    async with all_connections(state.database):
        system.clock.advance(10)
        await state.engine.run_until_idle()
        assert await answers(clients) == {200: waiting, 503: CLIENTS - waiting}, "told by the end itself"
