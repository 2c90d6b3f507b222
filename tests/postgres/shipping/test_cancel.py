"""Cancelling: no parcel afterwards, and none later, whatever was or is under way."""

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.shipping.conftest import Replica, Shipping


async def test_a_shipment_is_cancelled_once_and_for_good(shipping: Shipping, replica: Replica) -> None:
    """Cancel takes the parcel back, again 200; the shipment reads cancelled; a new create is refused."""
    made = (await replica.create("order-1")).json()
    for _ in range(2):
        answer = await replica.cancel("order-1")
        assert (answer.status_code, answer.json()) == (200, {"order_id": "order-1", "status": "cancelled"})
    assert shipping.live("order-1") == 0
    assert (await replica.get("order-1")).json() == made | {"status": "cancelled"}
    late = await replica.create("order-1", key="k2")
    assert (late.status_code, late.json()["code"]) == (409, "shipment-cancelled")
    assert "Retry-After" not in late.headers
    assert len(shipping.carrier.find()) == 1


@pytest.mark.scenario("K17")
async def test_an_order_never_shipped_leaves_a_tombstone(shipping: Shipping, replica: Replica) -> None:
    """A cancel before any create is 200, and the create that comes late is refused without calling the carrier."""
    assert (await replica.cancel("order-1")).status_code == 200
    for key in (None, None, "k2"):
        late = await replica.create("order-1", key=key)
        assert (late.status_code, late.json()["code"]) == (409, "shipment-cancelled")
    assert (await replica.get("order-1")).status_code == 404
    assert shipping.keys() == []


async def test_a_cancel_honours_its_key(shipping: Shipping, replica: Replica) -> None:
    """A repeat with the same key is the first answer and asks the carrier nothing."""
    headers = replica.headers | {"Idempotency-Key": "undo"}
    first = await replica.http.post("/shipments/order-1/cancel", headers=headers)
    again = await replica.http.post("/shipments/order-1/cancel", headers=headers)
    assert (again.json(), again.headers["Idempotent-Replayed"]) == (first.json(), "true")
    assert len(shipping.keys("/parcels/cancel")) == 1


async def test_a_delivered_parcel_cannot_be_cancelled(shipping: Shipping, replica: Replica) -> None:
    """409 already-delivered, again and again, and the shipment reads delivered."""
    await replica.create("order-1")
    shipping.carrier.deliver("order-1")
    for _ in range(2):
        refused = await replica.cancel("order-1")
        assert (refused.status_code, refused.json()["code"]) == (409, "already-delivered")
    assert (await replica.get("order-1")).json()["status"] == "delivered"
    assert (await replica.create("order-1", key="k2")).status_code == 200


@pytest.mark.scenario("K3")
async def test_a_cancel_is_confirmed_by_the_carrier(shipping: Shipping, replica: Replica) -> None:
    """While the carrier does not confirm, the answer is 503 with Retry-After and a create is refused already."""
    await replica.create("order-1")
    shipping.fault("status", path="/parcels/cancel", times=4)
    unconfirmed = await replica.cancel("order-1")
    assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (503, "carrier-unavailable")
    assert "Retry-After" in unconfirmed.headers
    assert (await replica.create("order-1", key="k2")).json()["code"] == "shipment-cancelled"
    assert (await replica.cancel("order-1")).status_code == 200
    assert shipping.live("order-1") == 0


async def test_a_cancel_that_the_carrier_does_not_let_in_is_alarmed(
    shipping: Shipping, replica: Replica, shipping_database: Database
) -> None:
    """401 to a cancel: 503 with a code of its own and an alarm, from a request and from the sweep; then it goes on."""
    await replica.create("order-1")
    shipping.fault("status", status=401, path="/parcels/cancel", times=2)
    refused = await replica.cancel("order-1")
    assert (refused.status_code, refused.json()["code"]) == (503, "carrier-misconfigured")
    assert "Retry-After" in refused.headers
    shipping.clock.advance(31)
    await replica.app.state.dispatch.sweep()
    assert shipping.live("order-1") == 1
    async with shipping_database.begin() as conn:
        alarms = await conn.fetch(Statement.of("select action, subject_id from audit"))
    assert [tuple(row) for row in alarms] == [("alarm.carrier-misconfigured", "order-1")]
    sounded = 'order_saga_alarms_total{kind="carrier-misconfigured"} 2.0'
    assert sounded in (await replica.http.get("/metrics")).text
    assert (await replica.cancel("order-1")).status_code == 200
    assert shipping.live("order-1") == 0


async def test_an_unconfirmed_cancel_is_not_forgotten(
    shipping: Shipping, replica: Replica, shipping_database: Database
) -> None:
    """If nobody asks again, a replica's sweep has the cancel confirmed after a while, once."""
    await replica.create("order-1")
    shipping.fault("status", path="/parcels/cancel", times=8)
    await replica.cancel("order-1")
    sweep = (await shipping.replica()).app.state.dispatch.sweep
    await sweep()
    assert shipping.live("order-1") == 1
    shipping.clock.advance(31)
    await sweep()
    assert shipping.live("order-1") == 1
    shipping.clock.advance(31)
    await sweep()
    assert shipping.live("order-1") == 0
    calls = shipping.keys("/parcels/cancel")
    assert [len(set(calls[look : look + 4])) for look in (0, 4, 8)] == [1, 1, 1], "the tries of a look have one key"
    shipping.clock.advance(31)
    await sweep()
    assert shipping.keys("/parcels/cancel") == calls
    async with shipping_database.begin() as conn:
        assert await conn.scalar(Statement.of("select undo_owed from shipments")) is False


@pytest.mark.scenario("K2", "K17")
async def test_a_create_that_lands_late_is_refused(shipping: Shipping, replica: Replica) -> None:
    """Every try times out and takes effect after the cancel: the carrier's tombstone refuses it."""
    shipping.fault("lands_late", times=4, latency_s=60)
    assert (await replica.create("order-1")).status_code == 503
    assert (await replica.cancel("order-1")).status_code == 200
    await shipping.carrier.settle_all()
    assert shipping.carrier.find() == []


async def test_a_refused_order_can_be_cancelled(shipping: Shipping, replica: Replica) -> None:
    """A cancel after a refusal is 200; the tombstone then answers."""
    await replica.create("FAIL_SHIP-1")
    assert (await replica.cancel("FAIL_SHIP-1")).status_code == 200
    assert (await replica.create("FAIL_SHIP-1", key="k2")).json()["code"] == "shipment-cancelled"
