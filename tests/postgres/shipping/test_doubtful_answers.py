"""Answers of the carrier that are about somebody else's parcel, or that cannot be written down."""

import json
from typing import Any

import httpx
import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.postgres.shipping.conftest import Replica, Shipping, shipment

OTHERS = {
    "parcel_id": "par_other",
    "reference": "order-9",
    "tracking_number": "SX9",
    "status": "registered",
    "carrier": "simulated-express",
}


def answers(shipping: Shipping, status: int, body: Any, **how: Any) -> None:
    """Let the carrier answer with this instead of doing what it is asked for."""
    shipping.fault("status", status=status, body=json.dumps(body), content_type="application/json", **how)


@pytest.mark.scenario("C16")
async def test_another_orders_parcel_is_not_taken_for_ours(shipping: Shipping, replica: Replica) -> None:
    """An answer that names another reference leaves open what has happened; the next request makes our parcel."""
    answers(shipping, 201, OTHERS, times=4)
    answers(shipping, 200, {"parcels": [OTHERS]}, method="GET")
    refused = await replica.create("order-1")
    assert (refused.status_code, refused.json()["code"]) == (503, "carrier-unavailable")
    made = await replica.create("order-1")
    assert made.status_code == 201
    (parcel,) = shipping.carrier.find("order-1")
    assert made.json()["tracking_number"] == parcel.tracking_number


@pytest.mark.scenario("C15", "C16")
async def test_ours_is_found_among_the_parcels_of_others(shipping: Shipping, replica: Replica) -> None:
    """A carrier that lists every parcel it has, whatever it was asked for, still tells us of ours."""
    shipping.fault("lost_answer", times=4)
    ours = OTHERS | {"parcel_id": "par_ours", "reference": "order-1", "tracking_number": "SX1"}
    answers(shipping, 200, {"parcels": [OTHERS, ours]}, method="GET")
    made = await replica.create("order-1")
    assert (made.status_code, made.json()["tracking_number"]) == (201, "SX1")


@pytest.mark.parametrize("field", ["parcel_id", "tracking_number", "carrier"])
@pytest.mark.scenario("C16")
async def test_a_parcel_that_cannot_be_written_down_is_none(shipping: Shipping, replica: Replica, field: str) -> None:
    """Half a surrogate pair is text in JSON and in no database: the outcome is unknown, and not the caller's fault."""
    answers(shipping, 201, OTHERS | {"reference": "order-1", field: "\ud800"}, times=4)
    answers(shipping, 200, {"parcels": []}, method="GET")
    refused = await replica.create("order-1")
    assert (refused.status_code, refused.json()["code"]) == (503, "carrier-unavailable")
    assert (await replica.create("order-1")).status_code == 201


@pytest.mark.parametrize("detail", ["no such\0 street", "no such\ud800 street"])
@pytest.mark.scenario("C16")
async def test_a_refusal_is_written_down_whatever_its_words(
    shipping: Shipping, replica: Replica, shipping_database: Database, detail: str
) -> None:
    """What no database takes is left out of the carrier's words, and the refusal is as final as any other."""
    answers(shipping, 422, {"code": "no-such-street", "detail": detail})
    for key in ("k1", "k2"):
        refused = await replica.create("order-1", key=key)
        assert (refused.status_code, refused.json()["code"]) == (422, "carrier-rejected")
        assert refused.json()["detail"].startswith("No such")
    async with shipping_database.begin() as conn:
        (status,) = await conn.fetch(Statement.of("select status from shipments"))
    assert status["status"] == "refused"
    assert shipping.keys() == ["shipment:order-1"]


@pytest.mark.scenario("C16", "K2")
async def test_a_cancel_of_another_order_confirms_nothing(shipping: Shipping, replica: Replica) -> None:
    """An answer that names another reference, or does not say so, does not mean that our parcel is gone."""
    await replica.create("order-1")
    for said in ({"reference": "order-9", "status": "cancelled"}, {"status": "registered"}, {}, None, ["cancelled"]):
        answers(shipping, 200, said, path="/parcels/cancel", times=4)
        unconfirmed = await replica.cancel("order-1")
        assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (503, "carrier-unavailable")
    assert shipping.live("order-1") == 1
    assert (await replica.cancel("order-1")).status_code == 200
    assert shipping.live("order-1") == 0


@pytest.mark.scenario("C16")
async def test_a_key_that_came_with_another_parcel_leaves_none(shipping: Shipping, replica: Replica) -> None:
    """What was made under our key before we were restored is taken back by reference before the refusal is told."""
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(shipping.carrier_app), base_url="http://carrier"
    ) as http:
        body = {name: value for name, value in shipment("order-1").items() if name in {"address", "items"}}
        body |= {"reference": "order-1", "items": [{"sku": "mug", "quantity": 3}]}
        made = await http.post("/parcels", json=body, headers={"Idempotency-Key": "shipment:order-1"})
        assert made.status_code == 201
    refused = await replica.create("order-1")
    assert (refused.status_code, refused.json()["code"]) == (422, "carrier-rejected")
    assert shipping.live("order-1") == 0
