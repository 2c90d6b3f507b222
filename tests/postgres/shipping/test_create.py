"""Creating a shipment: one parcel per order, whatever the carrier does."""

import json
from typing import Any

import httpx
import pytest

from services.chassis import logs
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.chassis.security.tokens import mint_user_token
from services.chassis.settings import DEVELOPMENT_USER_SECRET
from tests.postgres.shipping.conftest import Replica, Shipping, shipment

ALARMED_TWICE = 'order_saga_alarms_total{kind="carrier-misconfigured"} 2.0'


@pytest.mark.scenario("C1", "C4")
async def test_an_order_becomes_one_shipment(shipping: Shipping, replica: Replica) -> None:
    """The answer is 201 with the carrier's tracking number, and can be read again later."""
    made = await replica.create("order-1")
    assert made.status_code == 201, made.text
    (parcel,) = shipping.carrier.find("order-1")
    body = made.json()
    assert body["shipment_id"].startswith("shp_")
    assert body == {
        "shipment_id": body["shipment_id"],
        "order_id": "order-1",
        "carrier": "simulated-express",
        "tracking_number": parcel.tracking_number,
        "status": "registered",
    }
    assert made.headers["Location"] == "/shipments/order-1"
    found = await replica.get("order-1")
    assert (found.status_code, found.json()) == (200, body)
    assert (await replica.get("order-2")).status_code == 404


@pytest.mark.scenario("I1", "C4")
async def test_the_same_key_gives_the_first_answer_again(shipping: Shipping, replica: Replica) -> None:
    """A repeat is the first answer with Idempotent-Replayed; another key finds the same shipment, 200."""
    first = await replica.create("order-1")
    again = await replica.create("order-1")
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (201, first.json(), "true")
    other = await replica.create("order-1", key="k2")
    assert (other.status_code, other.json()) == (200, first.json())
    assert {answer.headers["Location"] for answer in (first, again, other)} == {"/shipments/order-1"}
    assert shipping.keys() == ["shipment:order-1"]


@pytest.mark.scenario("I2", "I4")
async def test_keys_are_required_and_bound_to_their_body(shipping: Shipping, replica: Replica) -> None:
    """No key is 400, a key with another body 422, another body for a known order 409."""
    missing = await replica.http.post("/shipments", json=shipment("order-1"), headers=replica.headers)
    assert missing.status_code == 400
    await replica.create("order-1")
    reused = await replica.create("order-1", attempt=2)
    assert (reused.status_code, reused.json()["code"]) == (422, "idempotency-key-reused")
    conflict = await replica.create("order-1", key="k2", attempt=2)
    assert (conflict.status_code, conflict.json()["code"]) == (409, "shipment-conflict")
    assert len(shipping.carrier.find()) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempt": "1"},
        {"attempt": True},
        {"items": []},
        {"items": [{"sku": "mug", "quantity": -1}]},
        {"order_id": "a b"},
        {"more": 1},
        {"address": {}},
    ],
)
async def test_invalid_requests_never_reach_the_carrier(
    shipping: Shipping, replica: Replica, wrong: dict[str, Any]
) -> None:
    """What does not have the documented shape is 422, as a problem."""
    answer = await replica.create("order-1", **wrong)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert shipping.keys() == []


@pytest.mark.parametrize("stored", [{"country": "UK"}, {"city": "Lon\u00addon"}, {"name": " "}])
async def test_an_address_is_taken_as_it_was_stored(
    shipping: Shipping, replica: Replica, stored: dict[str, str]
) -> None:
    """Checkout is strict about addresses; of a paid order even one that it would refuse by now goes to the carrier."""
    address = shipment("order-1")["address"] | stored
    assert (await replica.create("order-1", address=address)).status_code == 201
    assert shipping.live("order-1") == 1


@pytest.mark.scenario("SEC-b")
async def test_only_services_may_ship(replica: Replica, shipping: Shipping) -> None:
    """No token is 401; a user's token, an administrator's too, is 403."""
    assert (await replica.http.get("/shipments/order-1")).status_code == 401
    token = mint_user_token(DEVELOPMENT_USER_SECRET, sub="root", scope="admin service", clock=shipping.clock)
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": "k"}
    for answer in (
        await replica.http.get("/shipments/order-1", headers=headers),
        await replica.http.post("/shipments", json=shipment("order-1"), headers=headers),
        await replica.http.post("/shipments/order-1/cancel", headers=headers),
    ):
        assert answer.status_code == 403
    assert shipping.keys() == []


@pytest.mark.scenario("R1", "C15")
async def test_a_flaky_carrier_is_tried_again_under_one_key(shipping: Shipping, replica: Replica) -> None:
    """Two 503s are followed by a third call with the same key, after pauses that grow."""
    assert (await replica.create("FLAKY_SHIP-1")).status_code == 201
    assert shipping.keys() == ["shipment:FLAKY_SHIP-1"] * 3
    first, second = shipping.clock.slept
    assert 0.1 <= first <= 0.2
    assert 0.2 <= second <= 0.3
    assert shipping.live("FLAKY_SHIP-1") == 1


@pytest.mark.scenario("R2")
async def test_a_dead_carrier_is_unavailable_after_four_calls(shipping: Shipping, replica: Replica) -> None:
    """503 carrier-unavailable with Retry-After after four calls; nothing of it is stored under the key."""
    for round_number in (1, 2):
        answer = await replica.create("DEAD_SHIP-1")
        assert (answer.status_code, answer.json()["code"]) == (503, "carrier-unavailable")
        assert int(answer.headers["Retry-After"]) >= 1
        assert len(shipping.keys()) == 4 * round_number
    assert set(shipping.keys()) == {"shipment:DEAD_SHIP-1"}


@pytest.mark.scenario("I2")
async def test_a_key_without_an_answer_ships_nothing_else(shipping: Shipping, replica: Replica) -> None:
    """A request that was not answered may have made its parcel: under its key nothing but that order is shipped."""
    assert (await replica.create("DEAD_SHIP_1", key="k")).status_code == 503
    other = await replica.create("order-2", key="k")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert shipping.live("order-2") == 0
    assert (await replica.get("order-2")).status_code == 404
    assert (await replica.create("DEAD_SHIP_1", key="k")).status_code == 503


@pytest.mark.scenario("R9")
async def test_the_carriers_retry_after_is_a_floor(shipping: Shipping, replica: Replica) -> None:
    """A Retry-After makes the pause longer, two seconds at most, and is handed on when the carrier stays away."""
    shipping.fault("status", retry_after_s=7, times=4)
    answer = await replica.create("order-1")
    assert answer.headers["Retry-After"] == "7"
    assert shipping.clock.slept == [2.0, 2.0, 2.0]
    assert (await replica.create("order-1")).status_code == 201


@pytest.mark.scenario("R4", "C7")
async def test_a_refused_parcel_is_a_final_refusal(shipping: Shipping, replica: Replica) -> None:
    """422 carrier-rejected after one call, again and again, without asking the carrier anew or cancelling."""
    for key in (None, None, "k2"):
        answer = await replica.create("FAIL_SHIP-1", key=key)
        assert (answer.status_code, answer.json()["code"]) == (422, "carrier-rejected")
        assert "parcel-refused" not in answer.json()["detail"], "the customer reads this"
    assert shipping.keys() == ["shipment:FAIL_SHIP-1"]
    assert shipping.keys("/parcels/cancel") == []
    assert shipping.carrier.find() == []


@pytest.mark.scenario("C15")
async def test_a_lost_answer_makes_no_second_parcel(shipping: Shipping, replica: Replica) -> None:
    """A slow carrier has made the parcel; the same key gives that one."""
    assert (await replica.create("SLOW_SHIP-1")).status_code == 201
    assert shipping.keys() == ["shipment:SLOW_SHIP-1"] * 2
    assert len(shipping.carrier.find()) == 1


@pytest.mark.scenario("C15")
async def test_after_lost_answers_the_parcel_is_looked_up(shipping: Shipping, replica: Replica) -> None:
    """When no create is answered, the parcel is found by its reference."""
    shipping.fault("lost_answer", times=4)
    assert (await replica.create("order-1")).status_code == 201
    assert len(shipping.keys()) == 4
    assert len(shipping.carrier.find()) == 1


@pytest.mark.scenario("C15", "K17")
async def test_an_unknown_outcome_is_resolved_by_the_next_request(shipping: Shipping, replica: Replica) -> None:
    """Nothing was answered, not even the look-up: 503, and the next request finds the parcel without a create."""
    shipping.fault("lost_answer", times=4)
    shipping.fault("status", method="GET")
    assert (await replica.create("order-1")).status_code == 503
    assert (await replica.create("order-1")).status_code == 201
    assert len(shipping.keys()) == 4
    assert len(shipping.carrier.find()) == 1


@pytest.mark.scenario("K16")
async def test_a_refusal_after_an_unknown_outcome_is_told_after_a_cancel(shipping: Shipping, replica: Replica) -> None:
    """Where a try may have made a parcel, 422 is said only once a cancel by reference is confirmed."""
    shipping.fault("lost_answer")
    shipping.fault("status", status=422, body='{"code": "no-such-street"}')
    shipping.fault("status", path="/parcels/cancel", times=4)
    unconfirmed = await replica.create("order-1")
    assert (unconfirmed.status_code, unconfirmed.json()["code"]) == (503, "carrier-unavailable")
    assert shipping.live("order-1") == 1
    refused = await replica.create("order-1")
    assert (refused.status_code, refused.json()["code"]) == (422, "carrier-rejected")
    assert shipping.live("order-1") == 0
    again = await replica.create("order-1", key="k2")
    assert (again.status_code, len(shipping.keys())) == (422, 2)


@pytest.mark.scenario("K16")
async def test_an_unknown_outcome_of_an_earlier_request_counts_too(shipping: Shipping, replica: Replica) -> None:
    """The first request ends unanswered, the second is refused at once: the cancel comes first all the same."""
    shipping.fault("lands_late", times=4, latency_s=600)
    assert (await replica.create("order-1")).status_code == 503
    shipping.fault("status", status=422, body='{"code": "no-such-street"}')
    assert (await replica.create("order-1")).json()["code"] == "carrier-rejected"
    assert len(shipping.keys("/parcels/cancel")) == 1
    await shipping.carrier.settle_all()
    assert shipping.live("order-1") == 0


@pytest.mark.scenario("C16")
async def test_senseless_answers_are_not_believed(shipping: Shipping, replica: Replica) -> None:
    """HTML, a redirect, an endless body: each is an unknown outcome, and the fourth call succeeds."""
    shipping.fault("status", status=200, body="<html>", content_type="text/html")
    shipping.fault("status", status=302, location="http://elsewhere/")
    shipping.fault("status", status=200, size_bytes=10_000_000)
    assert (await replica.create("order-1")).status_code == 201
    shipping.fault("status", status=201, body='{"parcel_id": 7}', content_type="application/json", times=4)
    shipping.fault("status", status=200, body='{"parcels": 7}', content_type="application/json", method="GET")
    assert (await replica.create("order-2")).status_code == 503
    assert (shipping.live("order-1"), shipping.live("order-2")) == (1, 0)


async def test_a_carrier_that_does_not_let_us_in_is_alarmed(
    shipping: Shipping, replica: Replica, shipping_database: Database
) -> None:
    """401 from the carrier is our mistake: 503 with a code of its own, one call a try, alarms, and one row of them."""
    shipping.fault("status", status=401, times=2)
    for _ in range(2):
        refused = await replica.create("order-1")
        assert (refused.status_code, refused.json()["code"]) == (503, "carrier-misconfigured")
        assert "Retry-After" in refused.headers
    assert shipping.keys() == ["shipment:order-1"] * 2
    async with shipping_database.begin() as conn:
        actions = [action for (action,) in await conn.fetch(Statement.of("select action from audit"))]
    assert actions == ["alarm.carrier-misconfigured"]
    assert ALARMED_TWICE in (await replica.http.get("/metrics")).text
    assert (await replica.create("order-1")).status_code == 201
    assert shipping.live("order-1") == 1


@pytest.fixture
def _lines_are_json(logs_as_before: None) -> None:
    """Log as a service does, whatever other tests have left behind."""
    del logs_as_before
    logs.configure(service="shipping", level="info", format="json")


@pytest.mark.usefixtures("_lines_are_json")
async def test_named_events_tell_the_order(
    shipping: Shipping, replica: Replica, capsys: pytest.CaptureFixture[str]
) -> None:
    """shipment.requested, shipment.registered and shipment.failed carry the order id."""
    await replica.create("order-1")
    await replica.create("FAIL_SHIP-1")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    told = [(line["event"], line["order_id"]) for line in lines if line["event"].startswith("shipment.")]
    assert told == [
        ("shipment.requested", "order-1"),
        ("shipment.registered", "order-1"),
        ("shipment.requested", "FAIL_SHIP-1"),
        ("shipment.failed", "FAIL_SHIP-1"),
    ]


async def test_silence_is_bounded(shipping: Shipping, replica: Replica) -> None:
    """A carrier that is cut off is an unknown outcome, not an error of ours."""

    async def cut(_request: httpx.Request) -> None:
        raise httpx.ConnectError("cut")

    replica.line.before = cut
    assert (await replica.create("order-1")).status_code == 503
    replica.line.before = None
    assert (await replica.create("order-1")).status_code == 201
