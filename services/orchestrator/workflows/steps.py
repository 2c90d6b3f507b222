"""The steps of an order, each with its read-back and its undo; every call carries the key and deadline of its step."""

from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import CheckoutExecuted, Reservation
from services.contracts.shipping import Shipment
from services.orchestrator.clients import Clients, PaymentRequested
from services.orchestrator.engine import Found, Step, TerminalError


async def reserve_stock(step: Step[Clients], placed: PlacedOrder) -> Reservation:
    """Hold the stock of this attempt."""
    return await step.clients.session.reserve(
        placed, key=step.key, deadline=step.deadline, acting_user=step.acting_user
    )


async def release_stock(step: Step[Clients], reservation: Reservation | None, placed: PlacedOrder) -> None:
    """Release the stock by order and attempt; it does not matter whether the reservation was ever made."""
    del reservation
    await step.clients.session.release(placed, key=step.key, deadline=step.deadline, acting_user=step.acting_user)


async def request_payment(step: Step[Clients], placed: PlacedOrder, awakeable_id: str) -> PaymentRequested:
    """Request the payment of the total; a webhook brings the result to the awakeable."""
    requested = await step.clients.payment.request(
        placed, awakeable_id, key=step.key, deadline=step.deadline, acting_user=step.acting_user
    )
    step.log.info("payment.requested", order_id=placed.order_id, payment_id=requested.payment_id)
    return requested


async def find_payment(step: Step[Clients], placed: PlacedOrder, awakeable_id: str) -> Found[PaymentRequested] | None:
    """Find out whether the processor has the request.

    TerminalError if it has one for another awakeable: the webhook of that request would never reach this saga.
    """
    known = await step.clients.payment.requests(placed.order_id, placed.attempt, deadline=step.deadline)
    standing = [request for request in known if not request.voided]
    for request in standing:
        if request.awakeable_id == awakeable_id:
            return Found(PaymentRequested(payment_id=request.payment_id))
    if standing:
        raise TerminalError("payment-conflict", "The processor was asked for this attempt's money by another callback.")
    return None


async def void_or_refund(
    step: Step[Clients], requested: PaymentRequested | None, placed: PlacedOrder, awakeable_id: str
) -> None:
    """Void the payment by order and attempt; if money was captured already, refund all of it."""
    del requested, awakeable_id
    payment = step.clients.payment
    if await payment.void(placed.order_id, placed.attempt, key=step.key, deadline=step.deadline):
        step.log.info("payment.voided", order_id=placed.order_id)
        return
    for found in await payment.captured(placed.order_id, placed.attempt, deadline=step.deadline):
        if found.owed_minor > 0:
            await payment.refund(found, deadline=step.deadline)
            step.log.info("payment.refunded", order_id=placed.order_id, payment_id=found.payment_id)


async def mark_executed(step: Step[Clients], placed: PlacedOrder) -> CheckoutExecuted:
    """Mark the order as paid at session; the mark is never removed, so this step has no undo."""
    return await step.clients.session.mark_executed(
        placed, key=step.key, deadline=step.deadline, acting_user=step.acting_user
    )


async def ask_for_approval(step: Step[Clients], placed: PlacedOrder, reminder: int) -> None:
    """Notify the administrators that the order waits for them; `reminder` 0 is the first notice."""
    await step.clients.notifier.approval_waiting(placed, saga_id=step.saga_id, reminder=reminder)


async def initiate_shipment(step: Step[Clients], placed: PlacedOrder) -> Shipment:
    """Hand the order to the carrier."""
    step.log.info("shipment.requested", order_id=placed.order_id, attempt=step.attempt)
    shipment = await step.clients.shipping.initiate(
        placed, key=step.key, deadline=step.deadline, acting_user=step.acting_user
    )
    step.log.info(
        "shipment.registered",
        order_id=placed.order_id,
        user_id=placed.user_id,
        tracking_number=shipment.tracking_number,
    )
    return shipment


async def find_shipment(step: Step[Clients], placed: PlacedOrder) -> Found[Shipment] | None:
    """Find out whether shipping has handed the order to the carrier."""
    shipment = await step.clients.shipping.find(placed.order_id, deadline=step.deadline, acting_user=step.acting_user)
    return None if shipment is None else Found(shipment)


async def cancel_shipment(step: Step[Clients], shipment: Shipment | None, placed: PlacedOrder) -> None:
    """Cancel by order id; `shipment` is None if it is unknown whether there is one."""
    del shipment
    await step.clients.shipping.cancel(
        placed.order_id, key=step.key, deadline=step.deadline, acting_user=step.acting_user
    )


async def refund(step: Step[Clients], payment_id: str) -> int:
    """Refund what was captured and not refunded yet; return the amount, in minor units."""
    found = await step.clients.payment.get(payment_id, deadline=step.deadline)
    if found.owed_minor > 0:
        await step.clients.payment.refund(found, deadline=step.deadline)
        step.log.info("payment.refunded", order_id=found.order_id, payment_id=payment_id)
    return found.owed_minor


async def find_refund(step: Step[Clients], payment_id: str) -> Found[int] | None:
    """Find out whether nothing is left to refund; the amount is 0, as it is unknown who has refunded it."""
    found = await step.clients.payment.get(payment_id, deadline=step.deadline)
    return None if found.owed_minor > 0 else Found(0)
