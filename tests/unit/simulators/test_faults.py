"""Scripted faults and the record of calls."""

from typing import Any

import httpx
import pytest

from simulators.faults import Fault, FaultPlan, Script
from tests.support.clock import ManualClock
from tests.unit.simulators.conftest import World
from tests.unit.simulators.test_carrier import create, fleet


async def script(http: httpx.AsyncClient, *faults: dict[str, Any], seed: int | None = None) -> None:
    answer = await http.post("/_control/faults", json={"seed": seed, "faults": list(faults)})
    assert answer.status_code == 201, answer.text


async def test_a_status_comes_instead_of_the_effect(carrier: httpx.AsyncClient) -> None:
    """A scripted status hits the calls it names, as often as it says, and nothing takes effect."""
    await script(
        carrier, {"kind": "status", "status": 503, "retry_after_s": 7, "after": 1, "times": 2, "subject": "order-"}
    )
    assert [(await create(carrier, "other", key=f"o{n}")).status_code for n in range(3)] == [201] * 3
    answers = [await create(carrier, "order-1", key=f"k{n}") for n in range(4)]
    assert [answer.status_code for answer in answers] == [201, 503, 503, 201]
    assert answers[1].headers["Retry-After"] == "7"
    assert len(await fleet(carrier)) == 5
    assert (await carrier.get("/_control/faults")).json()["faults"][0]["hits"] == 2
    await carrier.delete("/_control/faults")
    assert (await carrier.get("/_control/faults")).json() == {"faults": []}


async def test_an_unsafe_answer(carrier: httpx.AsyncClient) -> None:
    """An answer may be HTML, a redirect, or far too large."""
    await script(
        carrier,
        {"kind": "status", "status": 200, "body": "<html>", "content_type": "text/html"},
        {"kind": "status", "status": 302, "location": "http://elsewhere/"},
        {"kind": "status", "status": 200, "size_bytes": 2_000_000},
    )
    html, redirect, huge = [await create(carrier, "order-1") for _ in range(3)]
    assert (html.text, html.headers["content-type"]) == ("<html>", "text/html")
    assert (redirect.status_code, redirect.headers["location"]) == (302, "http://elsewhere/")
    assert len(huge.content) == 2_000_000


async def test_a_lost_answer_has_taken_effect(carrier: httpx.AsyncClient) -> None:
    """A lost answer leaves the parcel in the fleet and the caller without an answer."""
    await script(carrier, {"kind": "lost_answer", "method": "post", "path": "/parcels"})
    with pytest.raises(httpx.ReadTimeout):
        await create(carrier, "order-1")
    assert len(await fleet(carrier)) == 1


async def test_a_late_effect_lands_after_its_answer_was_lost(carrier: httpx.AsyncClient, clock: ManualClock) -> None:
    """lands_late takes effect once its time has come, or is refused by what happened meanwhile."""
    await script(carrier, {"kind": "lands_late", "latency_s": 30, "times": 2, "method": "POST", "path": "/parcels"})
    for reference in ("order-1", "order-2"):
        with pytest.raises(httpx.ReadTimeout):
            await create(carrier, reference, key=reference)
    await carrier.post("/parcels/cancel", json={"reference": "order-2"})
    assert await fleet(carrier) == []
    while clock.sleeping < 2:
        await clock.sleep(0)
    clock.advance(30)
    for _ in range(50):
        await clock.sleep(0)
    assert [row["reference"] for row in await fleet(carrier)] == ["order-1"]


async def test_latency_is_waited_by_the_clock(world: World, clock: ManualClock) -> None:
    """A latency delays the answer by the simulator's clock."""
    clock.flowing = True
    await script(world.http, {"kind": "latency", "latency_s": 4})
    before = clock.now()
    await world.pay("tok_manual")
    assert (clock.now() - before).total_seconds() == 4


async def test_webhooks_get_lost_and_doubled(world: World) -> None:
    """A lost webhook comes at the next try, a duplicated one comes twice with one id."""
    await script(
        world.http,
        {"kind": "webhook_lost", "path": "payment.succeeded", "subject": "order-1"},
        {"kind": "webhook_duplicated", "subject": "order-2"},
    )
    await world.pay(order="order-1", key="1")
    await world.settled()
    assert world.merchant.received == []
    await world.settled()
    await world.pay(order="order-2", key="2")
    await world.settled()
    ids = [request.headers["webhook-id"] for request in world.merchant.received]
    assert [event["data"]["order_id"] for event in world.merchant.events] == ["order-1", "order-2", "order-2"]
    assert ids[1] == ids[2]


def test_the_dice_are_seeded() -> None:
    """The same seed hits the same calls; another seed hits others."""

    def hits(seed: int) -> list[bool]:
        plan = FaultPlan()
        plan.add(Script(seed=seed, faults=(Fault(kind="status", times=None, probability=0.5),)))
        return [plan.take(method="POST", path="/", subject=None) is not None for _ in range(64)]

    assert hits(7) == hits(7)
    assert hits(7) != hits(8)
    assert 16 < sum(hits(7)) < 48


async def test_every_call_is_recorded_in_order(world: World) -> None:
    """The record holds each call with its key, its order, and whether it was answered."""
    await script(world.http, {"kind": "lost_answer", "path": "/payments/void"})
    payment_id = (await world.pay("tok_manual")).json()["payment_id"]
    with pytest.raises(httpx.ReadTimeout):
        await world.http.post("/payments/void", json={"order_id": "order-1", "attempt": 1})
    await world.http.post(f"/payments/{payment_id}/refund", headers={"Idempotency-Key": "refund:x"})
    calls = (await world.http.get("/_control/calls")).json()["calls"]
    assert [(call["path"], call["key"], call["subject"], call["status"], call["fault"]) for call in calls] == [
        ("/payments", "k", "order-1", 202, None),
        ("/payments/void", None, "order-1", None, "lost_answer"),
        (f"/payments/{payment_id}/refund", "refund:x", "order-1", 409, None),
    ]
    assert [call["seq"] for call in calls] == [1, 2, 3]
    wanted = {"path": "/payments", "subject": "order-2"}
    assert (await world.http.get("/_control/calls", params=wanted)).json() == {"calls": []}
