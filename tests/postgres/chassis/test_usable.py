"""A database that answers is not usable yet: what a service waits for before it begins, and what it says meanwhile."""

from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import asyncpg
import pytest

from migrations.runner import upgrade
from services.chassis import health as health_module
from services.chassis.errors import DatabaseUnreachable, SettingsError
from services.chassis.health import Health
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support.clock import ManualClock
from tests.support.ping import ping

NEEDED = "0002"
OLDER = "0001"
PATIENCE_S = 30
NAME = Statement.of("select current_database()")
END_ALL = """
select pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'
"""


class Mending(ManualClock):
    """A clock that flows, and on which somebody mends the database during the first pause."""

    def __init__(self, mend: Callable[[], Awaitable[object]]) -> None:
        super().__init__(flowing=True)
        self._mend = mend

    async def sleep(self, seconds: float) -> None:
        if not self.slept:
            await self._mend()
        await super().sleep(seconds)


@pytest.fixture
async def database(empty_database: str) -> AsyncIterator[Database]:
    database = Database(empty_database, application_name="test")
    yield database
    await database.close()


async def set_read_only(url: str, value: str) -> None:
    connection = await asyncpg.connect(url, server_settings={"default_transaction_read_only": "off"})
    await connection.execute(f"ALTER DATABASE {url.rpartition('/')[2]} SET default_transaction_read_only = {value}")
    await connection.close()


async def given_up(database: Database) -> str:
    """Wait without patience; return what is said at the end."""
    with pytest.raises(DatabaseUnreachable) as caught:
        await database.wait_until_usable(ManualClock(flowing=True), setting="X_URL", schema=NEEDED, patience_s=0)
    return caught.value.message


@pytest.mark.scenario("V11")
async def test_a_service_waits_for_the_migration(database: Database, capsys: pytest.CaptureFixture[str]) -> None:
    """On no schema, and on an older one, it does not begin and says so; once that is migrated, it goes on by itself."""
    assert f"its schema is empty, this release needs {NEEDED}" in await given_up(database)
    await upgrade("shipping", database.url, OLDER)
    assert f"its schema is {OLDER}, this release needs {NEEDED}" in await given_up(database)
    clock = Mending(lambda: upgrade("shipping", database.url, NEEDED))
    await database.wait_until_usable(clock, setting="X_URL", schema=NEEDED, patience_s=PATIENCE_S)
    assert len(clock.slept) == 1
    assert "it is not migrated" in capsys.readouterr().out


@pytest.mark.scenario("V10")
async def test_a_newer_schema_will_do(database: Database) -> None:
    """Old code that is started on the new schema, as when a release is taken back, begins at once."""
    await upgrade("shipping", database.url, NEEDED)
    await database.wait_until_usable(ManualClock(), setting="X_URL", schema=OLDER)


async def test_a_service_waits_for_a_server_that_takes_writes(database: Database) -> None:
    """On a standby, or where all is read-only, it does not begin; once writes are taken, it goes on by itself."""
    await upgrade("shipping", database.url)
    await set_read_only(database.url, "on")
    assert "it takes no writes" in await given_up(database)
    clock = Mending(lambda: set_read_only(database.url, "off"))
    await database.wait_until_usable(clock, setting="X_URL", schema=NEEDED, patience_s=PATIENCE_S)
    assert len(clock.slept) == 1


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"netloc": "nobody:wrong@{host}"}, "no such user, or another password"),
        ({"path": "/not_made_yet"}, "no database of this name"),
    ],
)
async def test_who_is_kept_out_is_told_at_once(empty_database: str, change: dict[str, str], why: str) -> None:
    """No waiting mends a wrong password, user or database: the start ends, and says which setting to correct."""
    parts = urlsplit(empty_database)
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(**{name: value.format(host=host) for name, value in change.items()}).geturl()
    database, clock = Database(url, application_name="test"), ManualClock(flowing=True)
    with pytest.raises(DatabaseUnreachable, match=f"{why}.* Correct .* in X_URL") as caught:
        await database.wait_until_usable(clock, setting="X_URL", schema=NEEDED, patience_s=PATIENCE_S)
    assert not clock.slept
    assert "wrong" not in caught.value.message
    await database.close()


@pytest.mark.scenario("G14")
@pytest.mark.parametrize("servers", [1, 2])
async def test_readiness_tells_of_a_server_that_takes_no_writes(
    empty_database: str, servers: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A running service says so, in one line, keeps no connection to it, and is ready again once writes are taken."""
    monkeypatch.setattr(health_module, "_CHECK_TIMEOUT_S", PATIENCE_S)
    parts = urlsplit(empty_database)
    user, _, host = parts.netloc.rpartition("@")
    netloc = f"{user}@{','.join([host] * servers)}"
    database, health = Database(parts._replace(netloc=netloc).geturl(), application_name="test"), Health()
    health.add("postgres", database.check_writable)
    assert (await health.readiness()).ready
    await set_read_only(empty_database, "on")
    async with database.autocommit() as kept:  # it is older than the change, and still writes
        assert await kept.scalar(NAME) == empty_database.rpartition("/")[2]
        for _ in range(3):
            readiness = await health.readiness()
            assert (readiness.ready, readiness.checks) == (False, {"postgres": "read-only"})
        kept.drop()
    await set_read_only(empty_database, "off")
    assert (await health.readiness()).ready
    said = capsys.readouterr().out
    assert (said.count("health.check_failed"), said.count("health.check_passed")) == (1, 1)
    await database.close()


class Cut(Database):
    """A database whose server ends every connection once, as it is asked the second thing."""

    cut = False

    async def check_durability(self) -> None:
        if not self.cut:
            self.cut = True
            async with self.autocommit() as conn:
                connection = await asyncpg.connect(self.url)
                await connection.execute(END_ALL)
                await connection.close()
                await conn.fetch(NAME)
        await super().check_durability()


async def test_a_connection_that_is_lost_during_the_start_is_tried_again(
    empty_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever a start asks of Postgres after the first answer is asked again, all of it, until it is done once."""
    await upgrade("shipping", empty_database)
    database, clock, done = Cut(empty_database, application_name="test"), ManualClock(flowing=True), 0

    async def write() -> None:
        nonlocal done
        await ping(database)
        done += 1

    try:
        await database.wait_until_usable(clock, setting="X_URL", schema=NEEDED, first=write, patience_s=PATIENCE_S)
    finally:
        await database.close()
    assert done == 1
    assert len(clock.slept) == 1
    assert "database.unreachable" in capsys.readouterr().out


async def test_what_a_service_writes_first_is_written_again(database: Database) -> None:
    """A service's own first write, lost with its connection, is tried again as well."""
    await upgrade("shipping", database.url)
    tries = 0

    async def write() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionResetError

    await database.wait_until_usable(ManualClock(flowing=True), setting="X_URL", schema=NEEDED, first=write)
    assert tries == 2


async def test_a_server_that_is_not_durable_is_not_waited_for(database: Database) -> None:
    """What may lose what it has acknowledged is refused at once, by the names of its settings."""
    await upgrade("shipping", database.url)
    name = database.url.rpartition("/")[2]
    connection = await asyncpg.connect(database.url)
    await connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    await connection.close()
    database_as_it_is = Database(database.url, application_name="test")
    clock = ManualClock(flowing=True)
    try:
        with pytest.raises(SettingsError, match="synchronous_commit = off"):
            await database_as_it_is.wait_until_usable(clock, setting="X_URL", schema=NEEDED)
    finally:
        await database_as_it_is.close()
    assert not clock.slept
