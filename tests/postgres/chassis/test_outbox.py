"""The outbox's SQL: sequence per key in the order of commits, and what enqueue does to a key in each of its states."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from services.chassis.messaging.outbox import Message, enqueue
from services.chassis.messaging.queries import queries
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support.clock import ManualClock


def message(key: str, n: int, **rest: Any) -> Message:
    return replace(
        Message(service="there", path=f"/things/{n}", key=key, body="{}", name="thing", id=f"{key}-{n}"), **rest
    )


async def write(database: Database, *messages: Message, clock: ManualClock | None = None) -> None:
    async with database.begin() as conn:
        await enqueue(conn, messages, now=clock.now() if clock else None)


async def rows(database: Database, sql: str) -> Sequence[Any]:
    async with database.autocommit() as conn:
        return await conn.fetch(Statement.of(sql))


async def waiting(database: Database) -> list[str]:
    return [row["id"] for row in await rows(database, "select id from outbox order by key, seq")]


async def test_one_enqueue_numbers_each_key_in_the_order_given(database: Database) -> None:
    """The messages of a key get consecutive numbers, whatever other keys are between them."""
    await write(database, message("b", 1), message("a", 1), message("b", 2))
    await write(database, message("b", 3))
    assert await rows(database, "select id, seq from outbox order by key, seq") == [
        ("a-1", 1),
        ("b-1", 1),
        ("b-2", 2),
        ("b-3", 3),
    ]


async def test_a_message_keeps_everything(database: Database) -> None:
    """What was enqueued is what is read; an empty id is filled."""
    full = message(
        "k",
        1,
        id="",
        method="PUT",
        body='{"a": "é\\u0000"}',
        settled_by=(202, 409),
        acting_user="alice",
        traceparent="00-x",
    )
    await write(database, full)
    async with database.autocommit() as conn:
        (row,) = await conn.fetch(queries()["read_messages"], {"keys": ["k"], "per_key": 9, "now": None})
    assert row["id"].startswith("msg_")
    assert (row["method"], row["body"], row["settled_by"]) == ("PUT", full.body, [202, 409])
    assert (row["acting_user"], row["traceparent"]) == ("alice", "00-x")


@pytest.mark.scenario("C10", "C6")
async def test_sequence_order_is_commit_order(database: Database) -> None:
    """A second writer of a key waits for the first one's commit, so that a later number is never visible earlier."""
    async with database.begin() as first:
        await enqueue(first, [message("k", 1)], now=None)
        second = asyncio.create_task(write(database, message("k", 2)))
        other = asyncio.create_task(write(database, message("other", 1)))
        await other
        done, _ = await asyncio.wait([second], timeout=0.1)
        assert not done
    await second
    assert await rows(database, "select id, seq from outbox where key = 'k' order by seq") == [("k-1", 1), ("k-2", 2)]


async def test_writers_of_the_same_keys_do_not_deadlock(database: Database) -> None:
    """Keys are locked in one order, whatever order they are given in."""
    writes = [
        write(database, *(message(key, n, id=f"{key}-{n}") for key in ("abcdef" if n % 2 else "fedcba")))
        for n in range(40)
    ]
    await asyncio.gather(*writes)
    assert await rows(database, "select count(*), count(distinct (key, seq)) from outbox") == [(240, 240)]


@pytest.mark.scenario("C8")
async def test_a_rolled_back_message_is_nowhere(database: Database) -> None:
    """A transaction that rolls back leaves neither message nor key nor number."""
    with pytest.raises(RuntimeError):
        async with database.begin() as conn:
            await enqueue(conn, [message("k", 1)], now=None)
            raise RuntimeError
    await write(database, message("k", 2))
    assert await rows(database, "select id, seq from outbox") == [("k-2", 1)]


async def claim(database: Database, clock: ManualClock, limit: int = 10) -> dict[str, int]:
    async with database.autocommit() as conn:
        found = await conn.fetch(queries()["claim_keys"], {"limit": limit, "lease_s": 10.0, "now": clock.now()})
        return {row["key"]: row["epoch"] for row in found}


async def test_a_key_is_leased_once_until_its_lease_ends(database: Database, clock: ManualClock) -> None:
    """A leased key is not claimed again, also not after an enqueue; after the lease's end it is, at a new epoch."""
    await write(database, message("k", 1), clock=clock)
    first = await claim(database, clock)
    assert first.keys() == {"k"}
    assert await claim(database, clock) == {}
    await write(database, message("k", 2), clock=clock)
    assert await claim(database, clock) == {}
    clock.advance(10)
    second = await claim(database, clock)
    assert second["k"] > first["k"]


async def test_claims_share_the_keys_and_keep_their_limit(database: Database, clock: ManualClock) -> None:
    """Claims at the same time take different keys, never more than asked for."""
    await write(database, *(message(f"k{n}", 1) for n in range(30)), clock=clock)
    claims = await asyncio.gather(*(claim(database, clock, limit=7) for _ in range(5)))
    assert all(len(taken) <= 7 for taken in claims)
    taken = [key for one in claims for key in one]
    assert len(taken) == len(set(taken))


async def test_a_claim_passes_over_keys_that_others_hold(database: Database, clock: ManualClock) -> None:
    """A key that another claim has just taken, or a writer holds, is neither waited for nor taken twice."""
    await write(database, message("claimed", 1), message("written", 1), message("free", 1), clock=clock)
    async with database.begin() as claiming, database.begin() as writing:
        values = {"limit": 1, "lease_s": 10.0, "now": clock.now()}
        (taken,) = await claiming.fetch(queries()["claim_keys"], values)
        left = {"claimed", "written", "free"} - {taken["key"]}
        held = min(left)
        await enqueue(writing, [message(held, 2)], now=clock.now())
        claimed = await asyncio.wait_for(claim(database, clock), 5)
        assert claimed.keys() == left - {held}


async def test_an_old_epoch_holds_nothing(database: Database, clock: ManualClock) -> None:
    """The fence: a lease that was taken over, or released, is not held any more; a recreated key has a new epoch."""
    await write(database, message("k", 1), clock=clock)
    first = await claim(database, clock)
    clock.advance(10)
    second = await claim(database, clock)
    async with database.begin() as conn:
        for epochs, expected in ((first, []), (second, ["k"])):
            held = await conn.fetch(queries()["hold"], {"keys": ["k"], "epochs": [epochs["k"]]})
            assert [row["key"] for row in held] == expected
        mark = {"delivered": ["k-1"], "keys": ["k"], "attempts": [0], "pauses": [0.0], "now": clock.now()}
        await conn.fetch(queries()["release"], mark)
    assert await rows(database, "select count(*) from outbox_keys") == [(0,)]
    await write(database, message("k", 2), clock=clock)
    third = await claim(database, clock)
    assert third["k"] > second["k"]
    async with database.begin() as conn:
        assert await conn.fetch(queries()["hold"], {"keys": ["k"], "epochs": [second["k"]]}) == []
