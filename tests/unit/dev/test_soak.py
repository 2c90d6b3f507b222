"""The soak's own eyes and hands: every check sees what it is there for, and the proxy loses what it is told to."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest

from dev.postgres import free_port
from dev.soak.acts import ACTS
from dev.soak.chaos import schedule
from dev.soak.checks import CHECKS
from dev.soak.evidence import Evidence
from dev.soak.parts import EVERYTHING, PARTS
from dev.soak.plans import STOCK, plans
from dev.soak.proxy import COMMIT, Line, Proxy
from dev.soak.shopper import Journal

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
DONE, UNDONE = "saga-done", "saga-undone"
HOST = "127.0.0.1"

Spoil = Callable[[Evidence, Journal], Evidence]


def undo(seq: int, name: str, after_s: int) -> dict[str, Any]:
    began = NOON + timedelta(seconds=after_s)
    return {
        "saga_id": UNDONE,
        "seq": seq,
        "name": name,
        "status": "done",
        "started_at": began,
        "finished_at": began + timedelta(seconds=1),
        "error_code": None,
    }


def saga(saga_id: str, workflow: str, key: str, outcome: str, error_code: str | None = None) -> dict[str, Any]:
    return {"id": saga_id, "workflow": workflow, "key": key, "phase": "ended", "outcome": outcome} | {
        "error_code": error_code
    }


def call(path: str, subject: str, key: str) -> dict[str, Any]:
    return {"method": "POST", "path": path, "subject": subject, "key": key}


def event(order_id: str, kind: str) -> dict[str, Any]:
    return {"order_id": order_id, "payment_id": f"pay-{order_id}", "type": kind, "delivered": 1, "held": 0}


def history(order_id: str, *statuses: str) -> list[dict[str, Any]]:
    return [{"order_id": order_id, "attempt": 1, "status": status} for status in statuses]


def payment(order_id: str, captured: int, refunded: int) -> dict[str, Any]:
    return {"payment_id": f"pay-{order_id}", "order_id": order_id, "attempt": 1} | {
        "captured_minor": captured,
        "refunded_minor": refunded,
    }


def sound() -> Evidence:
    """What a run leaves in which one order was delivered and another was cancelled after it was paid."""
    return Evidence(
        sagas=[saga(DONE, "order", "A", "completed"), saga(UNDONE, "order", "B", "cancelled")],
        steps=[{"saga_id": DONE, "position": "6", "kind": "step", "name": "request_payment", "attempts": 2}],
        undos=[undo(2, "void_or_refund", 10), undo(1, "release_stock", 20)],
        signals=[
            {"saga_id": DONE, "name": "awk", "kind": "awakeable", "status": "resolved"},
            {"saga_id": UNDONE, "name": "awk", "kind": "awakeable", "status": "resolved"},
        ],
        orders=[
            {"order_id": "A", "attempt": 1, "status": "completed"},
            {"order_id": "B", "attempt": 1, "status": "cancelled"},
        ],
        attempts=[{"order_id": name, "attempt": 1, "total_minor": 200} for name in "AB"],
        history=[
            *history("A", "pending_payment", "awaiting_approval", "approved", "shipped", "completed"),
            *history("B", "pending_payment", "cancel_requested", "cancelled"),
        ],
        stock=[{"sku": "soak-atlas", "on_hand": STOCK - 1, "held": 0}],
        reserved=[
            {"order_id": "A", "attempt": 1, "status": "sold", "sku": "soak-atlas", "quantity": 1},
            {"order_id": "B", "attempt": 1, "status": "released", "sku": "soak-atlas", "quantity": 1},
        ],
        messages=9,
        waiting=0,
        dead=0,
        payments=[payment("A", 200, 0), payment("B", 200, 200)],
        events=[event("A", "payment.succeeded"), event("B", "payment.succeeded")],
        payment_calls=[
            call("/payments", "A", f"{DONE}:6"),
            call("/payments", "A", f"{DONE}:6"),
            call("/payments/void", "B", f"{UNDONE}:6:undo"),
        ],
        parcels=[{"reference": "A", "status": "registered"}],
        parcel_calls=[call("/parcels", "A", "shipment:A")],
        takeovers=[],
        claims=2,
        seen=[],
    )


def told() -> Journal:
    """What customers and the administrator were answered in that run."""
    journal = Journal()
    for name in "AB":
        journal.told("checkout", name, 1, "")
    journal.told("cancel", "B", 1, "")
    journal.told("decision", "A", 1, "approve")
    return journal


def broken(found: Evidence, journal: Journal) -> set[str]:
    return {verdict.guarantee for verdict in (check(found, journal) for check in CHECKS) if verdict.wrong}


def changed(rows: Any, number: int, **news: Any) -> Any:
    return [row | news if index == number else row for index, row in enumerate(rows)]


SPOILED: list[tuple[str, str, Spoil]] = [
    ("an order is gone", "G1", lambda e, _: replace(e, attempts=e.attempts[:1])),
    ("a saga was never started", "G1", lambda e, _: replace(e, sagas=e.sagas[:1])),
    ("a cancel is forgotten", "G1", lambda e, _: replace(e, history=e.history[:-2])),
    ("a decision is not kept", "G1", lambda e, _: replace(e, orders=changed(e.orders, 0, status="rejected"))),
    ("a webhook woke nobody", "G10", lambda e, _: replace(e, signals=changed(e.signals, 1, status="expired"))),
    ("a step was called again", "G3", lambda e, _: replace(e, steps=changed(e.steps, 0, attempts=1))),
    (
        "a step was called under two keys",
        "G4",
        lambda e, _: replace(e, payment_calls=changed(e.payment_calls, 1, key="x")),
    ),
    ("two parcels", "G4", lambda e, _: replace(e, parcels=[*e.parcels, *e.parcels])),
    ("an undo is still owed", "G8", lambda e, _: replace(e, undos=changed(e.undos, 1, status="owed"))),
    ("the first was undone first", "G8", lambda e, _: replace(e, undos=changed(e.undos, 1, started_at=NOON))),
    ("a void without an intent", "G8", lambda e, _: replace(e, undos=e.undos[1:])),
    ("money was kept", "G9", lambda e, _: replace(e, payments=changed(e.payments, 1, refunded_minor=0))),
    ("money was given away", "G9", lambda e, _: replace(e, payments=changed(e.payments, 0, refunded_minor=1))),
    ("no parcel", "G9", lambda e, _: replace(e, parcels=[])),
    ("stock is lost", "G9", lambda e, _: replace(e, stock=changed(e.stock, 0, on_hand=STOCK - 2))),
    ("stock is held for nobody", "G9", lambda e, _: replace(e, stock=changed(e.stock, 0, held=1))),
    ("a message waits", "G15", lambda e, _: replace(e, waiting=1)),
    (
        "the customer was told something else",
        "G15",
        lambda e, _: replace(e, orders=changed(e.orders, 1, status="rejected")),
    ),
    ("an event came twice", "G15", lambda e, _: replace(e, history=[*e.history, *history("A", "shipped")])),
]


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    """Every check is content with a sound run, and has looked at something."""
    assert broken(sound(), told()) == set()


@pytest.mark.parametrize(("guarantee", "spoil"), [one[1:] for one in SPOILED], ids=[one[0] for one in SPOILED])
def test_every_check_sees_what_it_is_there_for(guarantee: str, spoil: Spoil) -> None:
    """One thing that is wrong is found, under the guarantee that it breaks."""
    journal = told()
    assert guarantee in broken(spoil(sound(), journal), journal)


def test_answers_that_contradict_each_other_are_found() -> None:
    """A repeat under the same key with another answer breaks G16."""
    journal = told()
    journal.contradictions.append("POST /x: 202, then 409")
    assert broken(sound(), journal) == {"G16"}


def test_a_seed_repeats_orders_and_faults() -> None:
    """The same seed draws the same customers and the same schedule; another seed does not; every fault is known."""
    assert list(islice(plans(7), 200)) == list(islice(plans(7), 200)) != list(islice(plans(8), 200))
    first = schedule(7, "chaos", EVERYTHING, 300)
    assert first == schedule(7, "chaos", EVERYTHING, 300) != schedule(8, "chaos", EVERYTHING, 300)
    assert {kind for part in PARTS.values() for kind in part.faults} == set(ACTS)
    assert {each.kind for each in first} == set(EVERYTHING)


@asynccontextmanager
async def echo() -> AsyncIterator[tuple[Proxy, Line, list[bytes]]]:
    """A server that answers each line with `ok`, behind a proxy."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            heard.append(line)
            writer.write(b"ok\n")
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    line = Line("postgres", free_port(), [server.sockets[0].getsockname()[1]], postgres=True)
    proxy = Proxy([line], random.Random(1))
    await proxy.start()
    try:
        yield proxy, line, heard
    finally:
        await proxy.stop()
        server.close()
        await server.wait_closed()


async def say(line: Line, *words: bytes) -> list[bytes]:
    """Say some words on one connection; what was answered to each, nothing where the connection ended."""
    reader, writer = await asyncio.open_connection(HOST, line.port)
    answers = []
    try:
        for word in words:
            writer.write(word + b"\n")
            answers.append(await reader.readline())
    except ConnectionError:
        answers.append(b"")
    finally:
        writer.transport.abort()
    return answers


async def test_the_proxy_loses_a_commit_or_its_answer() -> None:
    """A lost COMMIT never arrives; a lost answer leaves it done and its sender in the dark; the next one passes."""
    async with echo() as (proxy, line, heard):
        proxy.lose("commit", postgres=True)
        assert await say(line, b"begin", COMMIT) == [b"ok\n", b""]
        assert heard == [b"begin\n"]
        proxy.lose("commit-answer", postgres=True)
        assert await say(line, b"begin", COMMIT) == [b"ok\n", b""]
        assert heard[-1] == COMMIT + b"\n"
        assert await say(line, COMMIT) == [b"ok\n"]
        assert proxy.hits == {"postgres lost commit": 1, "postgres lost commit-answer": 1}


async def test_a_half_open_connection_hears_nothing_until_it_is_healed() -> None:
    """What is said on a half-open connection arrives nowhere, and nobody is told; healing ends it."""
    async with echo() as (proxy, line, heard):
        reader, writer = await asyncio.open_connection(HOST, line.port)
        writer.write(b"before\n")
        assert await reader.readline() == b"ok\n"
        proxy.half_open(postgres=True, seconds=60)
        writer.write(b"into the void\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readline(), 0.2)
        proxy.heal()
        assert await reader.read() == b""
        writer.transport.abort()
        assert heard == [b"before\n"]
