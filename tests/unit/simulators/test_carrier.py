"""The carrier: parcels by key and reference, its special references and its fleet."""

from typing import Any

import httpx
import pytest


def parcel(reference: str) -> dict[str, Any]:
    address = {"name": "Ada", "street": "1 Row", "city": "London", "postal_code": "N1", "country": "GB"}
    return {"reference": reference, "address": address, "items": [{"sku": "mug", "quantity": 1}]}


async def create(carrier: httpx.AsyncClient, reference: str, key: str = "k") -> httpx.Response:
    return await carrier.post("/parcels", json=parcel(reference), headers={"Idempotency-Key": key})


async def fleet(carrier: httpx.AsyncClient) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (await carrier.get("/fleet")).json()["parcels"]
    return rows


async def test_one_key_is_one_parcel(carrier: httpx.AsyncClient) -> None:
    """The same key gives the same parcel; another key makes another one, and the fleet shows both."""
    first = await create(carrier, "order-1")
    again = await create(carrier, "order-1")
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await fleet(carrier)) == 1
    await create(carrier, "order-1", key="another")
    assert len(await fleet(carrier)) == 2


async def test_a_parcel_is_found_and_cancelled_by_reference(carrier: httpx.AsyncClient) -> None:
    """Cancelling by reference takes the parcel back, again and again, and refuses a later one."""
    made = await create(carrier, "order-1")
    found = await carrier.get("/parcels", params={"reference": "order-1"})
    assert found.json() == {"parcels": [made.json()]}
    assert [
        (await carrier.post("/parcels/cancel", json={"reference": "order-1"})).json()["cancelled"] for _ in "12"
    ] == [
        1,
        0,
    ]
    assert [row["status"] for row in await fleet(carrier)] == ["cancelled"]
    late = await create(carrier, "order-1", key="later")
    assert (late.status_code, late.json()["code"]) == (409, "reference-cancelled")


async def test_a_cancel_before_the_create_leaves_a_tombstone(carrier: httpx.AsyncClient) -> None:
    """A reference that was never seen can be cancelled, and is refused from then on."""
    assert (await carrier.post("/parcels/cancel", json={"reference": "order-1"})).status_code == 200
    assert (await create(carrier, "order-1")).status_code == 409
    assert await fleet(carrier) == []


async def test_a_delivered_parcel_stays_delivered(carrier: httpx.AsyncClient) -> None:
    """What was delivered cannot be cancelled."""
    await create(carrier, "order-1")
    await carrier.post("/_control/parcels/deliver", json={"reference": "order-1"})
    refused = await carrier.post("/parcels/cancel", json={"reference": "order-1"})
    assert (refused.status_code, refused.json()["code"]) == (409, "already-delivered")


async def test_special_references(carrier: httpx.AsyncClient) -> None:
    """FAIL_SHIP is refused, FLAKY_SHIP works at the third try, DEAD_SHIP never does."""
    refused = await create(carrier, "FAIL_SHIP-1", key="f")
    assert (refused.status_code, refused.json()["code"]) == (422, "parcel-refused")
    assert [(await create(carrier, "FLAKY_SHIP-1", key="y")).status_code for _ in range(4)] == [503, 503, 201, 201]
    assert [(await create(carrier, "DEAD_SHIP-1", key="d")).status_code for _ in range(3)] == [503, 503, 503]
    assert [row["reference"] for row in await fleet(carrier)] == ["FLAKY_SHIP-1"]


async def test_a_slow_answer_is_lost_and_a_repeat_finds_the_parcel(carrier: httpx.AsyncClient) -> None:
    """SLOW_SHIP creates the parcel and loses its answer; the same key then gives that parcel."""
    with pytest.raises(httpx.ReadTimeout):
        await create(carrier, "SLOW_SHIP-1")
    assert len(await fleet(carrier)) == 1
    assert (await create(carrier, "SLOW_SHIP-1")).status_code == 201
    assert len(await fleet(carrier)) == 1


async def test_malformed_requests_are_refused(carrier: httpx.AsyncClient) -> None:
    """No key is 400, a wrong shape 422 that names the field, an unknown route 404 without a business code."""
    assert (await carrier.post("/parcels", json=parcel("order-1"))).status_code == 400
    sent = parcel("order-1") | {"reference": 7, "surprise": 1}
    wrong = await carrier.post("/parcels", json=sent, headers={"Idempotency-Key": "k"})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid-request")
    assert "body.reference: Input should be a valid string" in wrong.json()["detail"]
    assert "surprise" not in wrong.json()["detail"]
    unknown = await carrier.get("/nowhere")
    assert unknown.status_code == 404
    assert "code" not in unknown.json()
