"""One order's errand through the whole product, with crashes of its services: over HTTP, as its people go about it."""

import itertools
from collections.abc import Sequence
from typing import Any

from tests.support.sweep_points import Heard, Strike
from tests.support.sweep_report import Violation
from tests.support.sweep_town import Town

ERRANDS = {
    "delivered": ["pending_payment", "awaiting_approval", "approved", "shipped", "completed"],
    "rejected": ["pending_payment", "awaiting_approval", "refunded", "rejected"],
    "cancelled": ["pending_payment", "awaiting_approval", "cancel_requested", "refunded", "cancelled"],
}
"""What the customer sees of each, in this order."""
PRICE = 1999
ROUNDS_MAX = 40
_numbers = itertools.count(1)


async def errand(
    town: Town, name: str, strikes: Sequence[Strike] = ()
) -> tuple[list[Heard], list[tuple[Heard, str]], list[Violation]]:
    """Send one order on its errand; give what was heard, what was struck, and what does not hold at its end."""
    number = next(_numbers)
    order_id, user = f"{name}-{number}", f"user-{number}"
    events = town.events
    events.heard, events.struck, events.strikes = [], [], strikes
    await town.call(
        "POST",
        "session",
        f"/users/{user}/cart/items",
        json={"sku": "book", "quantity": 1},
        headers=town.bearer(user),
    )
    available = await town.available()
    try:
        events.on = True
        await town.check_out(order_id, user=user, payment_token="tok_ok")
        await _until(town, order_id, user, "awaiting_approval")
        events.decided_at = len(events.heard)
        await _decide(town, name, order_id, user)
        await _until(town, order_id, user, ERRANDS[name][-1])
        events.on = False
        found = await _check(town, name, order_id, user, available)
    except Exception as error:  # noqa: BLE001 - whatever it is, the errand has not ended as it should
        found = [Violation("G2", f"{type(error).__name__}: {str(error)[:500]}")]
    finally:
        events.on = False
    return events.heard, events.struck, found


async def _until(town: Town, order_id: str, user: str, status: str) -> None:
    """Let time pass until the customer sees this status."""
    for _ in range(ROUNDS_MAX):
        await town.settle()
        if await town.status(order_id, user=user) == status:
            return
        town.clock.advance(5)
    raise AssertionError(f"{order_id} is {await town.status(order_id, user=user)}, not {status}")


async def _decide(town: Town, name: str, order_id: str, user: str) -> None:
    if name == "cancelled":
        answer = await town.cancel(order_id, user=user)
    else:
        answer = await town.decide(order_id, "approve" if name == "delivered" else "reject")
    if not answer.is_success:
        raise AssertionError(f"{answer.status_code} {answer.text}")


async def _check(town: Town, name: str, order_id: str, user: str, available: int) -> list[Violation]:
    found = []
    order = await town.order(order_id, user=user)
    seen = [entry["status"] for entry in order["history"]]
    if seen != ERRANDS[name]:
        found.append(Violation("G5", f"the customer saw {seen}"))
    shipped = name == "delivered"
    payments: list[Any] = town.apps["payment"].state.simulator.ledger.find(order_id=order_id)
    kept = sum(paid.captured_minor - paid.refunded_minor for paid in payments)
    if len(payments) != 1 or kept != (PRICE if shipped else 0):
        found.append(Violation("G9", f"kept {kept} of {len(payments)} payments"))
    parcels = [one for one in town.apps["carrier"].state.simulator.find(order_id) if one.status != "cancelled"]
    if len(parcels) != int(shipped):
        found.append(Violation("G9", f"{len(parcels)} parcels"))
    left = available - await town.available()
    if left != int(shipped):
        found.append(Violation("G9", f"{left} books are gone"))
    keys: dict[str, set[str]] = {}
    for simulator in ("payment", "carrier"):
        for call in town.apps[simulator].state.simulator.calls.view(path=None, subject=order_id, method=None):
            if call["key"] is not None:
                keys.setdefault(f"{call['method']} {call['path']}", set()).add(call["key"])
    found += [Violation("G4", f"{what} with {used}") for what, used in keys.items() if len(used) > 1]
    return found
