"""The chapters of the demo: each places an order, lets something happen to it, and proves what came of it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from dev import terminal
from dev.demo.world import PRICE_MINOR, DeviationError, Evidence, World

STOCK = 10
QUANTITY = 2
TOTAL = PRICE_MINOR * QUANTITY


@dataclass(frozen=True, slots=True)
class Tale:
    """What a chapter works with: the world, a word for this run, and a way to crash the orchestrator."""

    world: World
    run: str
    crash_orchestrator: Callable[[], Awaitable[None]]
    before: dict[str, int] = field(default_factory=dict)

    async def prepare(self, name: str, *, prefix: str = "") -> tuple[str, str, str]:
        """Have a customer with a filled basket, and a product with ten on hand; return order id, user and sku."""
        order_id, user, sku = f"{prefix}{name}-{self.run}", f"ada-{name}-{self.run}", f"book-{name}-{self.run}"
        await self.world.put_product(sku, STOCK)
        await self.world.fill_basket(user, sku, QUANTITY)
        terminal.done(f"{user} puts {QUANTITY} x {sku} into the basket; {STOCK} are on hand")
        return order_id, user, sku


Chapter = Callable[[Tale], Awaitable[None]]


def expect(what: str, found: object, wanted: object) -> None:
    if found != wanted:
        raise DeviationError(f"{what}: expected {wanted}, found {found}")


def prove(order_id: str, evidence: Evidence, *, captured: int, refunded: int, parcels: int, sold: int) -> None:
    """Show what ledger, fleet and stock say, and insist that it is this and that it balances."""
    terminal.say(
        f"    {terminal.paint('ledger', 'blue')}  captured {evidence.captured:>5}  refunded {evidence.refunded:>5}"
    )
    tracking = (
        ", ".join(f"{parcel['tracking_number']} {parcel['status']}" for parcel in evidence.parcels) or "no parcel"
    )
    terminal.say(f"    {terminal.paint('fleet', 'blue')}   {tracking}")
    terminal.say(f"    {terminal.paint('stock', 'blue')}   {STOCK} → {evidence.available}")
    expect(f"captured for {order_id}", evidence.captured, captured)
    expect(f"refunded for {order_id}", evidence.refunded, refunded)
    expect(f"parcels on their way for {order_id}", evidence.shipped, parcels)
    expect(f"stock after {order_id}", evidence.available, STOCK - sold)
    expect(f"money kept for {order_id}", evidence.captured - evidence.refunded, PRICE_MINOR * sold)


async def succeeds(tale: Tale) -> None:
    """order-123: everything goes well."""
    order_id, user, sku = await tale.prepare("order-123")
    await tale.world.check_out(user, order_id)
    await tale.world.until(user, order_id, "awaiting_approval")
    terminal.done("paid by webhook; the basket is empty, an administrator is asked")
    await tale.world.decide(order_id, "approve")
    order = await tale.world.until(user, order_id, "completed")
    terminal.done("approved, shipped, delivered: " + " → ".join(entry["status"] for entry in order["history"]))
    again = await tale.world.check_out(user, order_id)
    expect("the order that the same checkout names again", again["order_id"], order_id)
    terminal.done("the same checkout again names the same order and does nothing")
    prove(order_id, await tale.world.evidence(order_id, sku), captured=TOTAL, refunded=0, parcels=1, sold=QUANTITY)


async def carrier_refuses(tale: Tale) -> None:
    """FAIL_SHIP: the carrier refuses the parcel, after the money was taken."""
    order_id, user, sku = await tale.prepare("order-234", prefix="FAIL_SHIP-")
    await tale.world.check_out(user, order_id)
    await tale.world.until(user, order_id, "awaiting_approval")
    await tale.world.decide(order_id, "approve")
    await tale.world.until(user, order_id, "shipment_failed")
    terminal.done("the carrier refused; the money went back and the stock was released, in this order")
    prove(order_id, await tale.world.evidence(order_id, sku), captured=TOTAL, refunded=TOTAL, parcels=0, sold=0)


async def orchestrator_dies(tale: Tale) -> None:
    """order-456: the orchestrator is killed between "payment requested" and "executed", and pays once."""
    order_id, user, sku = await tale.prepare("order-456")
    await tale.world.check_out(user, order_id, card="tok_manual")
    payment = await tale.world.payment(order_id)
    terminal.done(f"payment {payment['payment_id']} is requested and {payment['status']}")
    await tale.crash_orchestrator()
    await tale.world.settle(payment["payment_id"], "succeeded")
    terminal.done("the money is taken; the webhook finds, sooner or later, an orchestrator that is back")
    await tale.world.until(user, order_id, "awaiting_approval")
    await tale.world.decide(order_id, "approve")
    await tale.world.until(user, order_id, "completed")
    evidence = await tale.world.evidence(order_id, sku)
    terminal.done("the saga went on from its log to the end")
    expect("payments in the ledger", len(evidence.payments), 1)
    prove(order_id, evidence, captured=TOTAL, refunded=0, parcels=1, sold=QUANTITY)


async def pays_at_the_second_attempt(tale: Tale) -> None:
    """order-567: a card is declined, and another one pays the same order."""
    order_id, user, sku = await tale.prepare("order-567")
    await tale.world.check_out(user, order_id, card="tok_decline")
    await tale.world.until(user, order_id, "payment_failed")
    evidence = await tale.world.evidence(order_id, sku)
    expect("stock after the declined card", evidence.available, STOCK)
    terminal.done("the card is declined; the stock is released, the basket is kept")
    placed = await tale.world.check_out(user, order_id, key=f"{order_id}-2")
    expect("the attempt", placed["attempt"], 2)
    await tale.world.until(user, order_id, "awaiting_approval", attempt=2)
    await tale.world.decide(order_id, "approve")
    await tale.world.until(user, order_id, "completed", attempt=2)
    terminal.done("the same order with another card: paid, approved, delivered")
    evidence = await tale.world.evidence(order_id, sku)
    expect("payments in the ledger", len(evidence.payments), 2)
    prove(order_id, evidence, captured=TOTAL, refunded=0, parcels=1, sold=QUANTITY)


async def is_rejected(tale: Tale) -> None:
    """order-789: an administrator rejects a paid order."""
    order_id, user, sku = await tale.prepare("order-789")
    await tale.world.check_out(user, order_id)
    await tale.world.until(user, order_id, "awaiting_approval")
    await tale.world.decide(order_id, "reject", "the address looks wrong")
    await tale.world.until(user, order_id, "rejected")
    terminal.done("rejected; the money went back and the stock was released")
    prove(order_id, await tale.world.evidence(order_id, sku), captured=TOTAL, refunded=TOTAL, parcels=0, sold=0)


async def money_comes_late(tale: Tale) -> None:
    """order-890: the customer cancels while the payment hangs; the money arrives afterwards."""
    order_id, user, sku = await tale.prepare("order-890")
    await tale.world.check_out(user, order_id, card="tok_late")
    payment = await tale.world.payment(order_id)
    terminal.done("the processor has taken the money and says nothing")
    await tale.world.cancel(user, order_id)
    await tale.world.until(user, order_id, "cancelled")
    terminal.done("the customer cancels: voiding is too late, so the payment is refunded")
    saga = await tale.world.saga("refund-payment", payment["payment_id"])
    expect("the end of the refund saga", saga["status"], "completed")
    terminal.done("only now its webhook arrives: late money starts a refund of its own, which finds it done")
    prove(order_id, await tale.world.evidence(order_id, sku), captured=TOTAL, refunded=TOTAL, parcels=0, sold=0)


CHAPTERS: tuple[Chapter, ...] = (
    succeeds,
    carrier_refuses,
    orchestrator_dies,
    pays_at_the_second_attempt,
    is_rejected,
    money_comes_late,
)
