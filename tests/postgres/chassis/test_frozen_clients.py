"""A client that freezes in a transaction: Postgres takes its locks away, and what it had not committed never was."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from services.chassis.db import Database
from services.chassis.db_errors import is_transient

SHORT = text("set local idle_in_transaction_session_timeout = '50ms'")
WRITE = text("insert into inbox (source, message_id, received_at) values ('s', 'k', now())")
READ = text("select count(*) from inbox")


@pytest.mark.scenario("CC13")
async def test_a_frozen_client_loses_its_transaction(database: Database) -> None:
    """Whoever waits for its lock gets it without anybody's help; the frozen one learns at its next word that it lost.

    The limit is shortened for this transaction; that every connection has one is another test's.
    """
    with pytest.raises(DBAPIError) as caught:
        async with database.begin() as frozen:
            await frozen.execute(SHORT)
            await frozen.execute(text("lock table inbox"))
            await frozen.execute(WRITE)
            async with database.begin() as other:
                await other.execute(text("lock table inbox"))
                assert (await other.execute(READ)).scalar_one() == 0
                await other.execute(WRITE)
            await frozen.execute(READ)
    assert is_transient(caught.value)
    async with database.autocommit() as conn:
        assert (await conn.execute(READ)).scalar_one() == 1
        limit = (await conn.execute(text("show idle_in_transaction_session_timeout"))).scalar_one()
        waits = (await conn.execute(text("show lock_timeout"))).scalar_one()
    assert (limit, waits) == ("30s", "10s")
