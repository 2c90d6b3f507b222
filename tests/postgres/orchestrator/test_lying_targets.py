"""Orders among a processor and a carrier that lie for a while: what they say is believed only where it makes sense."""

import json
import random
from typing import Any

import pytest

from tests.support.system import System

PAYMENT = {
    "payment_id": "pay_other",
    "order_id": "order-9",
    "attempt": 1,
    "captured_minor": 5,
    "refunded_minor": 0,
    "awakeable_id": "awk_other",
    "voided": False,
}
PARCEL = {"parcel_id": "par_other", "reference": "order-9", "tracking_number": "SX9", "status": "delivered"}
SAID: list[Any] = [{}, [], None, "ok", {"payments": []}, {"parcels": []}, PAYMENT, PARCEL]
LIES: list[dict[str, Any]] = [
    *({"status": 200, "body": json.dumps(said), "content_type": "application/json"} for said in SAID),
    *({"status": 200, "body": json.dumps({name: [PAYMENT | PARCEL]})} for name in ("payments", "parcels")),
    {"status": 200, "body": ""},
    {"status": 200, "body": "<html>", "content_type": "text/html"},
    {"status": 200, "body": "{}", "size_bytes": 2_000_000},
    {"status": 302, "location": "http://elsewhere/"},
    {"status": 401},
    {"status": 404, "body": ""},
    {"status": 409, "retry_after_s": 1},
    {"status": 500},
]
CALLS = [
    ("payment", "POST", "/payments"),
    ("payment", "POST", "/payments/void"),
    ("payment", "GET", "/payments"),
    ("payment", "POST", "/payments/pay_"),
    ("payment", "GET", "/payments/pay_"),
    ("carrier", "POST", "/parcels"),
    ("carrier", "POST", "/parcels/cancel"),
    ("carrier", "GET", "/parcels"),
]
TOKENS = ("tok_ok", "tok_ok", "tok_decline", "tok_late", "tok_early", "tok_twice", "tok_silent")
LIED_TO = 20


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.scenario("C16", "K12")
async def test_no_lie_costs_money_or_a_parcel(system: System, seed: int) -> None:
    """Whatever an order was told, and whenever it was cancelled, it ends, and money, stock and parcels balance."""
    dice = random.Random(seed)
    for _ in range(dice.randint(1, 8)):
        simulator, method, path = dice.choice(CALLS)
        lie = {"method": method, "path": path, "times": dice.randint(1, 4), "after": dice.choice([0, 0, 1])}
        await system.fault(simulator, kind="status", **lie, **dice.choice(LIES))
    await system.place("order-1", payment_token=dice.choice(TOKENS))
    cancelled_at, decision = dice.choice([None, 0, 1, 2, 5, 9]), dice.choice(["approve", "approve", "reject"])
    for moment in range(LIED_TO):
        if moment == cancelled_at:
            await system.cancel("order-1")
        await system.pass_time(dice.choice([1, 5, 31]))
        if await system.approvals():
            await system.decide("order-1", decision)
    for simulator in ("payment", "carrier"):
        await system.mend(simulator)
    for _ in range(LIED_TO):
        await system.pass_time(60)
    saga = await system.saga("order-1")
    assert saga["status"] in {"completed", "failed", "cancelled"}, saga["explanation"]
    await system.check_balance()
