"""A client that freezes in a transaction: Postgres takes its locks away, and what it had not committed never was."""

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.test_connections import ENDED

SHORT = Statement.of("set local idle_in_transaction_session_timeout = '50ms'")
LOCK = Statement.of("lock table inbox")
WRITE = Statement.of("insert into inbox (source, message_id, received_at) values ('s', 'k', now())")
READ = Statement.of("select count(*) from inbox")


@pytest.mark.scenario("CC13")
async def test_a_frozen_client_loses_its_transaction(database: Database) -> None:
    """Whoever waits for its lock gets it without anybody's help; the frozen one learns at its next word that it lost.

    The limit is shortened for this transaction; that every connection has one is another test's.
    """
    with pytest.raises(ENDED) as caught:
        async with database.begin() as frozen:
            await frozen.fetch(SHORT)
            await frozen.fetch(LOCK)
            await frozen.fetch(WRITE)
            async with database.begin() as other:
                await other.fetch(LOCK)
                assert await other.scalar(READ) == 0
                await other.fetch(WRITE)
            await frozen.fetch(READ)
    assert is_transient(caught.value)
    async with database.autocommit() as conn:
        assert await conn.scalar(READ) == 1
        limit = await conn.scalar(Statement.of("show idle_in_transaction_session_timeout"))
        waits = await conn.scalar(Statement.of("show lock_timeout"))
    assert (limit, waits) == ("4s", "2s")
