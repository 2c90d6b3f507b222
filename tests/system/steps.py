"""What the order scenarios do again and again."""

from typing import Any

from tests.support.system import System

ENDED = frozenset(
    {
        "completed",
        "payment_failed",
        "payment_expired",
        "out_of_stock",
        "rejected",
        "approval_expired",
        "shipment_failed",
        "cancelled",
    }
)


async def ended(system: System, order_id: str, *, within_s: int = 600) -> str:
    """Let time pass until the order has ended; how it did."""
    await system.settle()
    for _ in range(within_s // 5):
        status = await system.status(order_id)
        if status in ENDED:
            return status
        await system.pass_time(5)
    saga = await system.saga(order_id)
    raise AssertionError(f"{order_id} is still {status}: {saga['explanation']}")


async def paid(system: System, order_id: str, **how: Any) -> None:
    """Place an order and let it be paid; it waits for its approval."""
    await system.place(order_id, **how)
    await system.settle()
    assert await system.status(order_id) == "awaiting_approval"


async def shipped(system: System, order_id: str) -> None:
    """Take an order as far as the carrier."""
    await paid(system, order_id)
    answer = await system.decide(order_id)
    assert answer.status_code == 200, answer.text
    await system.settle()
    assert await system.status(order_id) == "shipped"


async def refunded(system: System, order_id: str) -> bool:
    """Whether money was taken for this order, and all of it given back."""
    lines = [line for line in await system.ledger() if line["order_id"] == order_id]
    taken = sum(line["captured_minor"] for line in lines)
    return bool(taken > 0 and taken == sum(line["refunded_minor"] for line in lines))


async def taken(system: System, order_id: str) -> int:
    """What was ever captured for this order."""
    return sum(int(line["captured_minor"]) for line in await system.ledger() if line["order_id"] == order_id)
