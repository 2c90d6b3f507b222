"""An address of several servers: who connects finds the one that takes writes, whatever the others do."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from services.chassis.postgres import connecting
from services.chassis.postgres.connecting import address_of, servers_of
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient, refuses_all_writes
from tests.postgres.chassis.test_usable import set_read_only
from tests.support.ping import ping

HOST: Final = "127.0.0.1"
BRIEF_S: Final = 0.2
GENEROUS_S: Final = 2.0
PASSWORD: Final = "a,b@c"


@pytest.fixture
def silent() -> Iterator[int]:
    """A server that takes connections and never says a word, as one does whose machine is frozen; its port."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        listener.listen()
        port: int = listener.getsockname()[1]
        yield port


def behind(port: int, url: str) -> Database:
    """Return the database behind an address that names another server first."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    return Database(parts._replace(netloc=f"{user}@{HOST}:{port},{host}").geturl(), application_name="test")


@pytest.mark.scenario("G14")
async def test_a_silent_server_is_passed_by(empty_database: str, silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first server has its part of the time, and then the next is asked; from then on that one is asked first."""
    monkeypatch.setattr(connecting, "_CONNECT_TIMEOUT_S", 2 * GENEROUS_S)
    database = behind(silent, empty_database)
    async with asyncio.timeout(3 * GENEROUS_S):
        await ping(database)
    await database.close()
    async with asyncio.timeout(GENEROUS_S):
        await ping(database)
    await database.close()


@pytest.mark.scenario("G14")
async def test_who_cannot_wait_for_a_silent_server_leaves_it_behind(empty_database: str, silent: int) -> None:
    """A readiness check or a heartbeat is over before the first server's time: the next one asks another."""
    database = behind(silent, empty_database)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(BRIEF_S):
            await ping(database)
    async with asyncio.timeout(GENEROUS_S):
        await ping(database)
    await database.close()


async def test_where_no_server_takes_writes_all_may_be_well_soon(empty_database: str) -> None:
    """After the primary has gone and before another is there, what needs one fails for now, and is no bug."""
    with closing(socket.socket()) as listener:
        listener.bind((HOST, 0))
        refusing: int = listener.getsockname()[1]
    database = behind(refusing, empty_database)
    await ping(database)
    await database.close()
    await set_read_only(empty_database, "on")
    with pytest.raises((ConnectionRefusedError, asyncpg.TargetServerAttributeNotMatched)) as caught:
        await ping(database)
    assert is_transient(caught.value)
    assert refuses_all_writes(asyncpg.TargetServerAttributeNotMatched())
    await set_read_only(empty_database, "off")
    await ping(database)
    await database.close()


@pytest.mark.parametrize(
    ("url", "servers", "address"),
    [
        ("postgresql://a@one:1,two/x", ("one:1", "two"), "postgresql://a@one:1,two/x?target_session_attrs=read-write"),
        ("postgresql://a@[::1]:1,two/x?target_session_attrs=any", ("[::1]:1", "two"), None),
        ("postgresql://a:b@one/x?pooler=transaction", ("one",), "postgresql://a:b@one/x"),
        ("postgresql:///x?host=/run/postgresql", (), None),
        (f"postgresql://a:{PASSWORD}@one/x", ("one",), None),
        ("postgresql://a:x/secret@one/x", (), None),
    ],
)
def test_what_an_address_names(url: str, servers: tuple[str, ...], address: str | None) -> None:
    """Nothing of a password is taken for a server; of several the one that takes writes is meant."""
    assert tuple(servers_of(url)) == servers
    if address is not None:
        assert address_of(url) == address
