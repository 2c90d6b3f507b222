"""What a simulator does and what it keeps of it are one commit: a process that dies in between has done nothing."""

import sqlite3
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from simulators.carrier import create_app as create_carrier
from tests.support.clock import ManualClock
from tests.unit.simulators.conftest import World
from tests.unit.simulators.test_carrier import fleet, parcel

KEY = {"Idempotency-Key": "k"}
LOST = "CREATE TRIGGER lost BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'lost'); END"
FOUND = "DROP TRIGGER lost"


@pytest.fixture
async def app(clock: ManualClock) -> AsyncIterator[FastAPI]:
    carrier = create_carrier(clock=clock, in_process=True)
    yield carrier
    await carrier.state.simulator.close()


async def test_a_parcel_is_there_only_with_the_answer_to_its_key(app: FastAPI) -> None:
    """Where the answer cannot be kept there is no parcel, and the repeat makes one; there never are two."""
    storage: sqlite3.Connection = app.state.simulator.storage
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://carrier") as carrier:
        storage.execute(LOST.format(table="answers"))
        with pytest.raises(sqlite3.IntegrityError):
            await carrier.post("/parcels", json=parcel("order-1"), headers=KEY)
        assert await fleet(carrier) == []
        storage.execute(FOUND)
        made = await carrier.post("/parcels", json=parcel("order-1"), headers=KEY)
        assert [row["parcel_id"] for row in await fleet(carrier)] == [made.json()["parcel_id"]]


@pytest.mark.parametrize("table", ["answers", "events"])
async def test_money_is_taken_and_given_back_only_with_what_is_told_of_it(world: World, table: str) -> None:
    """A capture, a refund and a void whose event or answer cannot be kept have not taken place."""
    await world.pay("tok_manual")
    (payment,) = (await world.http.get("/payments", params={"order_id": "order-1"})).json()["payments"]
    settle, refund = f"/_control/payments/{payment['payment_id']}/settle", f"/payments/{payment['payment_id']}/refund"
    storage = world.processor.storage
    storage.execute(LOST.format(table=table))
    with pytest.raises(sqlite3.IntegrityError):
        await world.pay("tok_late", order="order-2", key="late")
    assert [row["order_id"] for row in await world.ledger()] == ["order-1"]
    if table == "events":
        for path, body in (
            ("/payments/void", {"order_id": "order-1", "attempt": 1}),
            (settle, {"outcome": "succeeded"}),
        ):
            with pytest.raises(sqlite3.IntegrityError):
                await world.http.post(path, json=body)
        assert [(row["captured_minor"], row["voided"]) for row in await world.ledger()] == [(0, False)]
    storage.execute(FOUND)
    await world.http.post(settle, json={"outcome": "succeeded"})
    storage.execute(LOST.format(table=table))
    with pytest.raises(sqlite3.IntegrityError):
        await world.http.post(refund, headers=KEY)
    storage.execute(FOUND)
    assert [row["refunded_minor"] for row in await world.settled()] == [0]
    await world.http.post(refund, headers=KEY)
    assert [row["refunded_minor"] for row in await world.settled()] == [1999]
