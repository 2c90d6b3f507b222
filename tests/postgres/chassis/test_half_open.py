"""Connections that are dead without a word: whoever notices goes on with another, and waits for the end of none."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from tests.support.half_open import way_to
from tests.support.ping import ping

KEPT: Final = 5
SOON_S: Final = 0.1
PATIENCE_S: Final = 1.5
"""Less than a dead connection takes to be closed in good order."""


@pytest.mark.scenario("CC13", "G14")
async def test_who_notices_a_dead_connection_waits_for_the_end_of_none(chassis_url: str) -> None:
    """What was not answered in time is given up, and all that are idle with it; the next use connects anew."""
    async with way_to(chassis_url) as (url, go_dark):
        database = Database(url, application_name="half-open", pool_size=KEPT)
        try:
            async with AsyncExitStack() as stack:
                for _ in range(KEPT):
                    await stack.enter_async_context(database.autocommit())
            go_dark()
            async with asyncio.timeout(PATIENCE_S):
                with pytest.raises(TimeoutError) as noticed:
                    async with database.in_time(SOON_S):
                        await ping(database)
                await ping(database)
            assert is_transient(noticed.value)
        finally:
            await database.close()
