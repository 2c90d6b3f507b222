"""The proxy of the soak against a real server: what it is told to lose is what services really say."""

import random
from typing import Final
from urllib.parse import urlsplit

import pytest

from dev.postgres import HOST, free_port
from dev.soak.proxy import Line, Lost, Proxy
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient
from services.chassis.postgres.sql import Statement
from tests.support.ping import ping

ADD: Final = Statement.of("insert into inbox (source, message_id, received_at) values ('s', :id, now())")
COUNT: Final = Statement.of("select count(*) from inbox where message_id = :id")


@pytest.mark.scenario("G5")
@pytest.mark.parametrize(("lost", "there"), [("commit", 0), ("commit-answer", 1)])
async def test_a_commit_or_its_answer_is_lost(database: Database, lost: Lost, there: int) -> None:
    """A COMMIT that is to be lost never arrives, one whose answer is to be lost does; whoever sent it is not told."""
    parts = urlsplit(database.url)
    user = parts.netloc.rpartition("@")[0]
    line = Line("postgres", free_port(), [parts.port or 5432], postgres=True)
    proxy = Proxy([line], random.Random(0))
    await proxy.start()
    url = parts._replace(netloc=f"{user}@{HOST}:{line.port}", query="sslmode=disable").geturl()
    beyond = Database(url, application_name="beyond")
    try:
        await ping(beyond)
        proxy.lose(lost, postgres=True)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one depends on how much of the end is seen
            async with beyond.begin() as conn:
                await conn.fetch(ADD, {"id": lost})
        assert is_transient(caught.value)
        assert proxy.hits == {f"postgres lost {lost}": 1}
        async with database.autocommit() as conn:
            assert await conn.scalar(COUNT, {"id": lost}) == there
    finally:
        await beyond.close()
        await proxy.stop()
