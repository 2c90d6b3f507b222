"""The first stage of an order: hold the stock, request the payment, wait for it, mark the checkout executed."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from services.contracts.events import PaymentSummary
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.clients import OrderTerms
from services.orchestrator.engine import (
    RetryPolicy,
    SignalRejected,
    SignalTimeout,
    StepFailed,
    TerminalError,
    WorkflowContext,
)
from services.orchestrator.workflows.events import OUT_OF_STOCK, PAYMENT_EXPIRED, PAYMENT_FAILED, order_event
from services.orchestrator.workflows.steps import (
    find_payment,
    mark_executed,
    release_stock,
    request_payment,
    reserve_stock,
    void_or_refund,
)

# Session is our own service: an order waits for it however long it is away.
SESSION_RETRY = RetryPolicy(max_s=15.0)
# If the processor stays unreachable, the customer may try again; the stock is not held for ever.
PAYMENT_RETRY = RetryPolicy(max_attempts=12, max_s=20.0)
STEP_TIMEOUT = timedelta(seconds=15)


class PaymentCaptured(BaseModel):
    """The value of an order's awakeable: the payment was captured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_id: str = Field(min_length=1, max_length=255)
    transaction_id: str = Field(min_length=1, max_length=255)
    amount: Money


class Receipt(BaseModel):
    """The result of checkout, for fulfillment."""

    model_config = ConfigDict(frozen=True)

    payment_id: str
    transaction_id: str


async def checkout(ctx: WorkflowContext, placed: PlacedOrder, terms: OrderTerms) -> Receipt:
    """Hold the stock, collect the payment, and mark the checkout executed."""
    await _hold_stock(ctx, placed)
    captured = await _collect(ctx, placed, terms.payment_timeout)
    try:
        await ctx.run(mark_executed, placed, retry=SESSION_RETRY, timeout=STEP_TIMEOUT)
    except StepFailed as refusal:
        # The attempt no longer holds its stock: the payment is given back, and the customer may try again.
        raise TerminalError(PAYMENT_FAILED, f"The order could not be executed: {refusal.message}") from refusal
    paid = PaymentSummary(
        payment_id=captured.payment_id, transaction_id=captured.transaction_id, amount=captured.amount
    )
    ctx.send(order_event(placed, ctx.saga_id, "awaiting_approval", payment=paid))
    return Receipt(payment_id=captured.payment_id, transaction_id=captured.transaction_id)


async def _hold_stock(ctx: WorkflowContext, placed: PlacedOrder) -> None:
    ctx.set_status("reserving stock")
    try:
        await ctx.run(reserve_stock, placed, compensate=release_stock, retry=SESSION_RETRY, timeout=STEP_TIMEOUT)
    except StepFailed as refusal:
        code = OUT_OF_STOCK if refusal.code == OUT_OF_STOCK else PAYMENT_FAILED
        raise TerminalError(code, refusal.message) from refusal


async def _collect(ctx: WorkflowContext, placed: PlacedOrder, timeout: timedelta) -> PaymentCaptured:
    """Request the payment, and wait for the webhook with its result."""
    ctx.set_status("waiting for the payment")
    callback = ctx.awakeable(
        PaymentCaptured,
        expects={
            "order_id": placed.order_id,
            "amount_minor": placed.total.amount_minor,
            "currency": placed.total.currency,
        },
    )
    try:
        await ctx.run(
            request_payment,
            placed,
            callback.id,
            compensate=void_or_refund,
            retry=PAYMENT_RETRY,
            timeout=STEP_TIMEOUT,
            reconcile=find_payment,
        )
        return await callback.result(timeout=timeout)
    except SignalTimeout as expiry:
        raise TerminalError(PAYMENT_EXPIRED, "The payment did not arrive in time.") from expiry
    except SignalRejected as decline:
        raise TerminalError(PAYMENT_FAILED, f"The payment failed: {decline.message} ({decline.code})") from decline
    except StepFailed as refusal:
        raise TerminalError(PAYMENT_FAILED, f"The payment could not be requested: {refusal.message}") from refusal
