"""Dead letters: a refused message blocks its key, and an operator frees it by the SQL of docs/operations.md."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest

from dev import psql
from services.chassis import audit
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.postgres.connecting import connect
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.chassis.receiver import Received, Receiver, problem
from tests.postgres.chassis.test_outbox import message, rows, waiting, write
from tests.support import pages
from tests.support.clock import ManualClock
from tests.support.server import direct

pytestmark = pytest.mark.usefixtures("quiet")


def documented(*, drop: bool = False) -> tuple[str, str]:
    """Return what the page has an operator type: to look for dead letters, and to free the key `order-1`."""
    section = pages.section(pages.read("docs/operations.md"), "Dead letters")
    looking, freeing, dropping = (block.text for block in pages.blocks(section) if block.language == "sql")
    if drop:
        (sent_again,) = [line for line in freeing.splitlines() if line.startswith("update outbox set ")]
        freeing = freeing.replace(sent_again, dropping)
    return looking, freeing


@pytest.mark.scenario("C14")
async def test_a_definite_refusal_is_a_dead_letter_and_blocks_only_its_key(
    database: Database, clock: ManualClock, receiver: Receiver, new_relay: Callable[..., Relay]
) -> None:
    """The refused message and those behind it wait visibly, with an alarm; every other key goes on."""

    async def script(call: Received) -> httpx.Response | None:
        return problem(422, "nonsense", "it makes none") if call.id == "k-2" else None

    receiver.script = script
    metrics = Metrics()
    relay = new_relay(metrics=metrics)
    await write(database, *(message("k", n) for n in (1, 2, 3)), message("other", 1), clock=clock)
    await relay.run_until_idle()
    await write(database, message("k", 4), message("other", 2), clock=clock)
    clock.advance(1_000)
    await relay.run_until_idle()
    assert sorted(receiver.ids) == ["k-1", "k-2", "other-1", "other-2"]
    assert await waiting(database) == ["k-2", "k-3", "k-4"]
    looking, _ = documented()
    (dead,) = await rows(database, looking)
    assert (dead["key"], dead["id"]) == ("k", "k-2")
    assert (dead["dead_code"], dead["dead_detail"]) == ("nonsense", "it makes none")
    async with database.autocommit() as conn:
        (entry,) = await audit.find(conn, subject_id="k")
    assert entry.action == "alarm.outbox-dead-letter"
    assert "nonsense" in (entry.reason or "")
    await relay.measure()
    shown = metrics.render().decode()
    assert "outbox_dead 1.0" in shown
    assert 'order_saga_alarms_total{kind="outbox-dead-letter"} 1.0' in shown


@pytest.mark.parametrize(("drop", "expected"), [(True, ["order-1-2"]), (False, ["order-1-1", "order-1-2"])])
async def test_an_operator_frees_a_key(
    database: Database,
    clock: ManualClock,
    receiver: Receiver,
    new_relay: Callable[..., Relay],
    drop: bool,
    expected: list[str],
) -> None:
    """A blocked key goes on with its dead letter, or without it."""
    refusing = True

    async def script(_call: Received) -> httpx.Response | None:
        return problem(422) if refusing else None

    receiver.script = script
    relay = new_relay()
    await write(database, message("order-1", 1), message("order-1", 2), clock=clock)
    await relay.run_until_idle()
    refusing = False
    await operate(database, documented(drop=drop)[1])
    ((due_at,),) = await rows(database, "select due_at from outbox_keys")
    clock.advance(max(0.0, (due_at - clock.now()).total_seconds()))  # an operator's time is the database's
    await relay.run_until_idle()
    assert receiver.accepted == expected
    assert await waiting(database) == []


@pytest.mark.parametrize("drop", [True, False])
async def test_a_key_that_is_not_blocked_is_left_alone(database: Database, clock: ManualClock, drop: bool) -> None:
    """What waits by itself is not sent before its time because somebody frees its key."""
    await write(database, message("order-1", 1, delay_s=60), clock=clock)
    before = await rows(database, "select * from outbox_keys"), await rows(database, "select * from outbox")
    await operate(database, documented(drop=drop)[1])
    assert before == (await rows(database, "select * from outbox_keys"), await rows(database, "select * from outbox"))


async def operate(database: Database, script: str) -> None:
    """Run several statements as psql does."""
    connection = await connect(database.url, "operator")
    try:
        await connection.execute(script)
    finally:
        await connection.close()


@pytest.mark.parametrize(("own", "expected"), [(None, ["3s", "1min"]), ("-c lock_timeout=9s", ["9s", "1min"])])
def test_an_operator_who_sits_in_a_transaction_is_sent_away(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    own: str | None,
    expected: list[str],
) -> None:
    """`make psql` bounds how long rows are held and waited for, unless somebody says otherwise."""
    if own is None:
        monkeypatch.delenv("PGOPTIONS", raising=False)
    else:
        monkeypatch.setenv("PGOPTIONS", own)
    asked = [
        "-At",
        "-o",
        str(tmp_path / "told"),
        "-c",
        "show lock_timeout",
        "-c",
        "show idle_in_transaction_session_timeout",
    ]
    assert psql.open_psql(database.url, asked) == 0
    assert (tmp_path / "told").read_text().split() == expected


async def test_psql_is_opened_on_any_address_of_a_service(database: Database, tmp_path: Path) -> None:
    """With a password that had to be quoted, behind a pooler, on another schema: psql goes there, and is bounded."""
    password = "a b:c@d/%e+f?"
    async with database.autocommit() as conn:
        await conn.fetch(Statement.of(f"create role operator login password '{password}'"))
    parts = urlsplit(direct(database.url))
    where = f"operator:{quote(password, safe='')}@{parts.netloc.rpartition('@')[2]}"
    url = parts._replace(netloc=where, query="pooler=transaction&options=-csearch_path%3Dsaga").geturl()
    asked = [word for name in ("search_path", "lock_timeout") for word in ("-c", f"show {name}")]
    try:
        opened = await asyncio.to_thread(psql.open_psql, url, ["-At", "-o", str(tmp_path / "told"), *asked])
    finally:
        async with database.autocommit() as conn:
            await conn.fetch(Statement.of("drop role operator"))
    assert opened == 0
    assert (tmp_path / "told").read_text().split() == ["saga", "3s"]
