"""A table of the engine is away while sagas run, as during a restore: all of them wait for it, and nobody is blamed."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import asyncpg
import pytest

from tests.postgres.engine.conftest import ClusterOf
from tests.support import server
from tests.support.clock import ManualClock
from tests.support.engine import ONE, SUSPENDING, only
from tests.support.workflows import swift

TRIES: Final = 12
"""More than leases after which a saga is parked."""


@pytest.fixture
def clock() -> ManualClock:
    """A clock that the pauses between tries move on."""
    return ManualClock(flowing=True)


async def run(url: str, statement: str) -> None:
    """Do something to the database as its owner."""
    connection = await asyncpg.connect(server.direct(url))
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@only(ONE, SUSPENDING)
@pytest.mark.scenario("RC13", "G2", "G14")
async def test_a_table_that_is_away_is_waited_for(cluster_of: ClusterOf) -> None:
    """What cannot be written is tried again until the table is there; then each step is done once."""
    cluster = cluster_of(swift)
    tries = 0

    def hear(heard: str, _facts: tuple[object, ...]) -> None:
        nonlocal tries
        if heard != "flush_before":
            return
        tries += 1
        if tries in (2, TRIES):
            there, back = ("steps", "away") if tries == 2 else ("away", "steps")
            with ThreadPoolExecutor(1) as thread:
                thread.submit(lambda: asyncio.run(run(cluster.url, f"alter table {there} rename to {back}"))).result()

    cluster.on_event = hear
    view = await cluster.run(swift)
    assert view.status == "completed", view.explanation
    assert tries > TRIES
    happened = cluster.world.happened(view.saga_id)
    assert len(happened) == len(set(happened)) == 2
