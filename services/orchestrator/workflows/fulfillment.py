"""The second stage of an order: an administrator approves, the carrier takes the parcel, the delivery window passes."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from services.contracts.events import ShipmentSummary
from services.contracts.orchestrator import PlacedOrder
from services.contracts.shipping import Shipment
from services.orchestrator.clients import OrderTerms
from services.orchestrator.engine import (
    RetryPolicy,
    SignalRejected,
    SignalTimeout,
    StepFailed,
    TerminalError,
    WorkflowContext,
)
from services.orchestrator.workflows.checkout import STEP_TIMEOUT, Receipt
from services.orchestrator.workflows.events import APPROVAL_EXPIRED, ORDER_REJECTED, SHIPMENT_FAILED, order_event
from services.orchestrator.workflows.steps import ask_for_approval, cancel_shipment, find_shipment, initiate_shipment

ADMIN_APPROVAL = "admin_approval"
# Shipping makes short retries itself. These bridge some bad minutes of the carrier; then the customer is refunded.
CARRIER_RETRY = RetryPolicy(max_attempts=8, initial_s=0.5, max_s=30.0)
CARRIER_TIMEOUT = timedelta(seconds=60)
NOTICE_RETRY = RetryPolicy(max_attempts=5)


class Approval(BaseModel):
    """An administrator's decision; the signal also has who decided, and when."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    approved: bool
    reason: str | None = Field(default=None, max_length=500)


class Fulfilled(BaseModel):
    """The output of a completed order."""

    model_config = ConfigDict(frozen=True)

    order_id: str
    attempt: int
    payment_id: str
    carrier: str
    tracking_number: str


async def fulfill(ctx: WorkflowContext, placed: PlacedOrder, receipt: Receipt, terms: OrderTerms) -> Fulfilled:
    """Take a paid order to its delivery."""
    await _approved(ctx, placed, terms)
    shipment = await _ship(ctx, placed)
    ctx.no_return()
    under_way = ShipmentSummary(carrier=shipment.carrier, tracking_number=shipment.tracking_number)
    ctx.send(order_event(placed, ctx.saga_id, "shipped", shipment=under_way))
    ctx.set_status("on its way")
    ctx.log.info("delivery.waiting", order_id=placed.order_id, user_id=placed.user_id)
    await ctx.sleep(terms.delivery_window)
    ctx.log.info("delivery.expired", order_id=placed.order_id, user_id=placed.user_id)
    return Fulfilled(
        order_id=placed.order_id,
        attempt=placed.attempt,
        payment_id=receipt.payment_id,
        carrier=shipment.carrier,
        tracking_number=shipment.tracking_number,
    )


async def _approved(ctx: WorkflowContext, placed: PlacedOrder, terms: OrderTerms) -> None:
    """Wait for an administrator's approval; a rejection, or no decision in time, ends the order."""
    ctx.set_status("waiting for an administrator's approval")
    try:
        approval = await _decision(ctx, placed, terms)
    except SignalTimeout as expiry:
        raise TerminalError(APPROVAL_EXPIRED, "Nobody approved the order in time.") from expiry
    except SignalRejected as rejection:
        raise TerminalError(ORDER_REJECTED, rejection.message) from rejection
    if not approval.approved:
        raise TerminalError(ORDER_REJECTED, approval.reason or "The order was rejected.")
    ctx.send(order_event(placed, ctx.saga_id, "approved"))


async def _decision(ctx: WorkflowContext, placed: PlacedOrder, terms: OrderTerms) -> Approval:
    """Wait for the decision until the approval expires, and remind the administrators in between."""
    promise = ctx.promise(ADMIN_APPROVAL)
    expires_at = ctx.now() + terms.approval_timeout
    reminder = 0
    await _notify(ctx, placed, reminder)
    while (left := expires_at - ctx.now()) > terms.approval_reminder:
        first, value = await ctx.select(promise.result(timeout=left), ctx.sleep(terms.approval_reminder))
        if first == 0:
            return _as_approval(value)
        reminder += 1
        await _notify(ctx, placed, reminder)
    return _as_approval(await promise.result(timeout=max(left, timedelta(0))))


async def _notify(ctx: WorkflowContext, placed: PlacedOrder, reminder: int) -> None:
    """Notify the administrators. A failure does not end the order: the list of approvals shows it anyway."""
    try:
        await ctx.run(ask_for_approval, placed, reminder, retry=NOTICE_RETRY, timeout=STEP_TIMEOUT)
    except StepFailed as failure:
        ctx.log.warning("approval.notice_failed", order_id=placed.order_id, reason=failure.message)


def _as_approval(value: object) -> Approval:
    if not isinstance(value, Approval):
        raise TypeError(f"the promise {ADMIN_APPROVAL} gave {type(value).__name__}")
    return value


async def _ship(ctx: WorkflowContext, placed: PlacedOrder) -> Shipment:
    ctx.set_status("handing over to the carrier")
    try:
        return await ctx.run(
            initiate_shipment,
            placed,
            compensate=cancel_shipment,
            retry=CARRIER_RETRY,
            timeout=CARRIER_TIMEOUT,
            reconcile=find_shipment,
        )
    except StepFailed as failure:
        ctx.log.warning(
            "shipment.failed", order_id=placed.order_id, user_id=placed.user_id, code=failure.code, why=failure.message
        )
        raise TerminalError(SHIPMENT_FAILED, f"The order could not be shipped: {failure.message}") from failure
