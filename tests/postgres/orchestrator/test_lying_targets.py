"""Orders among a processor and a carrier that lie for a while: what they say is believed only where it makes sense."""

import json
import random
from dataclasses import dataclass
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
SILENT = {"kind": "status", "method": "POST", "path": "/parcels", "times": 8, "status": 500}
"""The carrier leaves open what it has done, so that it is asked, and, as the customer cancels, told to take it back."""


@dataclass(frozen=True, slots=True)
class Told:
    """A call that is lied to, and what happens to an order that comes to make it; None: anything."""

    simulator: str
    method: str
    path: str
    token: str | None = None
    decision: str | None = None
    cancelled_at: int | None = None
    carrier_is_silent: bool = False


CALLS = [
    Told("payment", "POST", "/payments"),
    Told("payment", "POST", "/payments/void", token="tok_ok", decision="reject"),
    Told("payment", "GET", "/payments", token="tok_ok", decision="reject"),
    Told("payment", "POST", "/payments/pay_", token="tok_ok", decision="reject"),
    Told("payment", "GET", "/payments/pay_", token="tok_late", cancelled_at=1),
    Told("carrier", "POST", "/parcels", token="tok_ok", decision="approve"),
    Told("carrier", "POST", "/parcels/cancel", "tok_ok", "approve", carrier_is_silent=True),
    Told("carrier", "GET", "/parcels", "tok_ok", "approve", carrier_is_silent=True),
]
TOKENS = ("tok_ok", "tok_ok", "tok_decline", "tok_late", "tok_early", "tok_twice", "tok_silent")
LIED_TO = 20


async def lie_to(system: System, call: Told, dice: random.Random) -> None:
    lie = {"method": call.method, "path": call.path, "times": dice.randint(1, 4), "after": 0}
    await system.fault(call.simulator, kind="status", **lie, **dice.choice(LIES))


async def lies_told(system: System, call: Told) -> int:
    """How often the first lie that was scripted for whom this call is made to was told."""
    faults = (await system.call("GET", call.simulator, "/_control/faults")).json()["faults"]
    return int(faults[0]["hits"])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method}-{call.path.strip('/').replace('/', '-')}")
@pytest.mark.scenario("C16", "K12")
async def test_no_lie_costs_money_or_a_parcel(system: System, call: Told, seed: int) -> None:
    """Whichever call is lied to, and others beside it, the order ends, and money, stock and parcels balance."""
    dice = random.Random(f"{call.method} {call.path} {seed}")
    await lie_to(system, call, dice)
    if call.carrier_is_silent:
        await system.fault("carrier", **SILENT)
    for other in dice.sample(CALLS, k=2 * seed):
        await lie_to(system, other, dice)
    await system.place("order-1", payment_token=call.token or dice.choice(TOKENS))
    decision = call.decision or dice.choice(["approve", "approve", "reject"])
    cancels = call.carrier_is_silent
    for moment in range(LIED_TO):
        if moment == call.cancelled_at or (cancels and await system.calls("carrier", "/parcels")):
            cancels = False
            await system.cancel("order-1")
        await system.pass_time(dice.choice([1, 5, 31]))
        if await system.approvals():
            await system.decide("order-1", decision)
    assert await lies_told(system, call) > 0
    for simulator in ("payment", "carrier"):
        await system.mend(simulator)
    for _ in range(LIED_TO):
        await system.pass_time(60)
    saga = await system.saga("order-1")
    assert saga["status"] in {"completed", "failed", "cancelled"}, saga["explanation"]
    await system.check_balance()
