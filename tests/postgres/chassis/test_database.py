"""The database: what its errors mean and what it insists on; the migration."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, text

from services.chassis.errors import DatabaseUnreachable, SettingsError
from services.chassis.postgres import tables
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_data_error, is_lost, is_transient
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.test_connections import ENDED
from tests.support import alchemy
from tests.support.clock import ManualClock
from tests.support.ping import ping

ROOT = Path(__file__).parents[3]
LOCK = Statement.of("lock table audit")
PID = Statement.of("select pg_backend_pid()")
END = Statement.of("select pg_terminate_backend(pid) from unnest(cast(:pids as integer[])) as pid")


def test_the_migration_makes_what_the_modules_declare(chassis_url: str) -> None:
    """Tables, columns, constraints and indexes of migrations/chassis.py equal those of tables.py."""
    metadata = MetaData()
    for add in (tables.add_outbox, tables.add_inbox, tables.add_idempotency, tables.add_audit):
        add(metadata)

    def compare(connection: Connection) -> Any:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        found = connection.execute(text("select sequencename from pg_sequences order by 1")).scalars().all()
        checks = connection.execute(text("select conname from pg_constraint where contype = 'c' order by 1"))
        return compare_metadata(context, metadata), found, checks.scalars().all()

    differences, sequences, checks = asyncio.run(alchemy.run(chassis_url, compare))
    assert differences == []
    assert "outbox_epoch" in sequences
    declared = {
        constraint.name
        for table in metadata.tables.values()
        for constraint in table.constraints
        if type(constraint).__name__ == "CheckConstraint"
    }
    assert declared <= set(checks)


async def error_of(database: Database, sql: str, values: dict[str, Any] | None = None) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is the question
        async with database.begin() as conn:
            await conn.fetch(Statement.of(sql), values or {})
    return caught.value


@pytest.mark.parametrize(
    ("sql", "values"),
    [
        ("select cast(:v as text)", {"v": "a\0b"}),
        ("select cast(:v as text)", {"v": "\ud800"}),
        ("select cast(:v as bigint)", {"v": 2**70}),
        ("select cast(:v as integer)", {"v": 2**40}),
        ("select cast(cast(:v as text) as jsonb)", {"v": '"\\u0000"'}),
        ("select cast(cast(:v as text) as jsonb)", {"v": "{"}),
        ("select cast(cast(:v as text) as jsonb)", {"v": "[" * 100_000}),
        ("select 1 / 0", None),
    ],
)
async def test_a_refused_value_is_a_data_error(database: Database, sql: str, values: dict[str, Any] | None) -> None:
    """Values that Postgres, or the driver, does not take are told from failures that may pass."""
    error = await error_of(database, sql, values)
    assert is_data_error(error), error
    assert not is_transient(error)


@pytest.mark.parametrize(
    ("sql", "transient"),
    [
        ("do $$ begin raise exception using errcode = '40001'; end $$", True),
        ("do $$ begin raise exception using errcode = '40P01'; end $$", True),
        ("do $$ begin raise exception using errcode = '53100'; end $$", True),
        ("do $$ begin raise exception using errcode = '57P01'; end $$", True),
        ("do $$ begin raise exception using errcode = '25P04'; end $$", True),
        ("do $$ begin raise exception using errcode = '55000'; end $$", True),
        ("do $$ begin raise exception using errcode = '58030'; end $$", True),
        ("set local statement_timeout = 20; select pg_sleep(5)", True),
        ("select pg_terminate_backend(pg_backend_pid())", True),
        ("set local role pg_monitor; select count(*) from audit", True),
        ("select count(*) from no_such_table", True),
        ("select count(*) from no_such_schema.audit", True),
        ("select no_such_column", False),
        ("do $$ begin raise exception using errcode = '23505'; end $$", False),
    ],
)
async def test_what_may_pass_is_transient(database: Database, sql: str, transient: bool) -> None:
    """Lost connections, deadlocks, timeouts, full disks, missing grants and tables may pass; bugs do not."""
    *first, last = sql.split("; ") if sql.startswith("set") else [sql]
    with pytest.raises(asyncpg.PostgresError) as caught:
        async with database.begin() as conn:
            for statement in first:
                await conn.fetch(Statement.of(statement))
            await conn.fetch(Statement.of(last))
    assert is_transient(caught.value) is transient
    assert not is_data_error(caught.value)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.InternalClientError("cannot switch to state 11; another operation (2) is in progress"), True),
        (asyncpg.InterfaceError("cannot perform operation: another operation is in progress"), False),
        (asyncpg.InternalClientError("no decoder for composite type element"), False),
    ],
)
def test_what_the_driver_says_of_an_end(error: Exception, lost: bool) -> None:
    """A connection that the server is ending is lost like one that has ended; what is wrong with our own use is not."""
    assert (is_lost(error), is_transient(error)) == (lost, lost)


async def test_a_lock_timeout_is_transient(database: Database) -> None:
    """A statement that waits for a lock too long may be tried again."""
    async with database.begin() as holder:
        await holder.fetch(LOCK)
        with pytest.raises(asyncpg.PostgresError) as caught:
            async with database.begin() as waiter:
                await waiter.fetch(Statement.of("set local lock_timeout = 20"))
                await waiter.fetch(LOCK)
    assert is_transient(caught.value)


async def test_a_server_that_is_not_there_is_transient() -> None:
    """Refused connections may pass; `wait_until_usable` gives up when its patience ends, saying where it looked."""
    nowhere = Database("postgresql://nobody@127.0.0.1:1/none", application_name="test")
    flowing = ManualClock(flowing=True)
    with pytest.raises(DatabaseUnreachable, match=r"none at 127\.0\.0\.1:1 .*ConnectionRefusedError.*X_URL") as caught:
        await nowhere.wait_until_usable(flowing, setting="X_URL", schema="", patience_s=0.3)
    assert caught.value.__cause__ is not None
    assert is_transient(caught.value.__cause__)
    assert flowing.slept
    await nowhere.close()


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"netloc": "nobody:wrong@{host}"}, asyncpg.InvalidPasswordError),
        ({"path": "/not_made_yet"}, asyncpg.InvalidCatalogNameError),
    ],
)
async def test_not_being_let_in_may_pass(
    chassis_url: str, change: dict[str, str], error: type[asyncpg.PostgresError]
) -> None:
    """A password that is known on one side only, and a database that is being restored, are waited for."""
    parts = urlsplit(chassis_url)
    host = parts.netloc.rpartition("@")[2]
    url = parts._replace(**{name: value.format(host=host) for name, value in change.items()}).geturl()
    away = Database(url, application_name="test")
    with pytest.raises(error) as caught:
        await ping(away)
    assert is_transient(caught.value)
    await away.close()


async def test_a_killed_connection_is_replaced(database: Database) -> None:
    """After the server has ended every connection, the pool serves again after one failure at most."""
    await ping(database)
    killer = Database(database.url, application_name="killer")
    async with killer.autocommit() as conn:
        await conn.fetch(
            Statement.of(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where application_name = 'test' and datname = current_database()"
            )
        )
    await killer.close()
    failures: list[Exception] = []
    for _ in range(2):
        try:
            await ping(database)
        except ENDED as error:
            failures.append(error)
    assert len(failures) <= 1
    assert all(is_transient(error) for error in failures)
    await ping(database)


async def test_a_connection_that_has_ended_is_lent_to_nobody(database: Database) -> None:
    """What the server has ended while it was idle, as at a restart or by a timeout of its own, costs no request."""
    async with database.autocommit() as one, database.autocommit() as other:
        kept = {await one.scalar(PID): one, await other.scalar(PID): other}
    killer = Database(database.url, application_name="killer")
    async with killer.autocommit() as conn:
        await conn.fetch(END, {"pids": list(kept)})
    await killer.close()
    async with asyncio.timeout(10):
        while not all(conn.has_ended for conn in kept.values()):
            await asyncio.sleep(0.01)
    async with database.autocommit() as conn:
        assert await conn.scalar(PID) not in kept


async def test_a_server_may_not_end_what_is_idle(database: Database) -> None:
    """A limit for idle sessions, which somebody has set on the server, does not hold for those that are kept."""
    async with database.autocommit() as conn:
        setting = await conn.first(
            Statement.of("select setting, source from pg_settings where name = 'idle_session_timeout'")
        )
    assert setting is not None
    assert tuple(setting) == ("0", "client"), "said by us, whatever is set elsewhere"


async def test_connections_have_bounded_waits(database: Database) -> None:
    """Every connection limits statements, locks and idle transactions, and speaks UTC."""
    async with database.autocommit() as conn:
        for setting in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
            assert await conn.scalar(Statement.of(f"show {setting}")) != "0"
        assert await conn.scalar(Statement.of("show timezone")) == "UTC"
        assert await conn.scalar(Statement.of("show jit")) == "off"


async def test_autocommit_commits_each_statement(database: Database) -> None:
    """What one statement wrote is there although the next one fails; a transaction takes both back."""
    insert = Statement.of("insert into inbox (source, message_id, received_at) values ('s', :id, now())")
    with pytest.raises(asyncpg.PostgresError):
        async with database.autocommit() as conn:
            await conn.fetch(insert, {"id": "a"})
            await conn.fetch(Statement.of("select 1 / 0"))
    with pytest.raises(asyncpg.PostgresError):
        async with database.begin() as conn:
            await conn.fetch(insert, {"id": "b"})
            await conn.fetch(Statement.of("select 1 / 0"))
    async with database.autocommit() as conn:
        assert [row["message_id"] for row in await conn.fetch(Statement.of("select message_id from inbox"))] == ["a"]


async def test_durability_is_checked(database: Database) -> None:
    """A server or role with synchronous_commit off is refused by name; a durable one is not."""
    async with database.autocommit() as conn:
        row = await conn.first(Statement.of("select current_user, current_database()"))
        assert row is not None
        change = 'alter role "{}" in database {}'.format(*row)
        await conn.fetch(Statement.of(f"{change} set synchronous_commit = off"))
    careless = Database(database.url, application_name="careless")
    try:
        with pytest.raises(SettingsError, match="synchronous_commit = off"):
            await careless.check_durability()
    finally:
        await careless.close()
        async with database.autocommit() as conn:
            await conn.fetch(Statement.of(f"{change} reset synchronous_commit"))
    fsync = (await _setting(database, "fsync")) == "on"
    if fsync and await _setting(database, "full_page_writes") == "on":
        await database.check_durability()


async def _setting(database: Database, name: str) -> str:
    async with database.autocommit() as conn:
        value: str = await conn.scalar(Statement.of(f"show {name}"))
    return value
