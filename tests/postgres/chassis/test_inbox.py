"""The inbox: a message is new once."""

import asyncio
from contextlib import nullcontext

import pytest

from services.chassis.messaging import inbox
from services.chassis.postgres.database import Database
from tests.support.clock import ManualClock


async def test_a_message_is_new_once(database: Database, clock: ManualClock) -> None:
    """The second delivery is known; another source's equal id is not; a rolled-back first one leaves no trace."""
    with pytest.raises(RuntimeError):
        async with database.begin() as conn:
            assert await inbox.first_time(conn, "session", "m1", now=clock.now())
            raise RuntimeError
    async with database.begin() as conn:
        assert await inbox.first_time(conn, "session", "m1", now=clock.now())
        assert not await inbox.first_time(conn, "session", "m1", now=clock.now())
        assert await inbox.first_time(conn, "shipping", "m1", now=clock.now())


async def test_a_second_delivery_at_the_same_time_waits_for_the_first(database: Database, clock: ManualClock) -> None:
    """It is known if the first one commits, and new if that rolls back."""
    for commits in (True, False):
        name = f"m-{commits}"

        async def second(message_id: str) -> bool:
            async with database.begin() as conn:
                return await inbox.first_time(conn, "session", message_id, now=clock.now())

        with nullcontext() if commits else pytest.raises(RuntimeError):
            async with database.begin() as conn:
                assert await inbox.first_time(conn, "session", name, now=clock.now())
                waiting = asyncio.create_task(second(name))
                done, _ = await asyncio.wait([waiting], timeout=0.1)
                assert not done
                if not commits:
                    raise RuntimeError
        assert await waiting is not commits


async def test_the_inbox_forgets_after_seven_days(database: Database, clock: ManualClock) -> None:
    """Purging takes the old ones, a batch at a time, and leaves the others."""
    async with database.begin() as conn:
        for number in range(5):
            await inbox.first_time(conn, "session", f"old-{number}", now=clock.now())
        clock.advance(8 * 86_400)
        await inbox.first_time(conn, "session", "new", now=clock.now())
        assert [await inbox.purge(conn, limit=3, now=clock.now()) for _ in range(3)] == [3, 2, 0]
        assert not await inbox.first_time(conn, "session", "new", now=clock.now())
