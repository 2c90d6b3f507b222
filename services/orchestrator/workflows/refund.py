"""The refund of a payment that belongs to no order, for instance because it came too late."""

from datetime import timedelta

from pydantic import BaseModel, ConfigDict, Field

from services.orchestrator.engine import RetryPolicy, WorkflowContext, workflow
from services.orchestrator.workflows.steps import find_refund, refund

# It is given back however long the processor is away.
REFUND_RETRY = RetryPolicy(max_s=60.0)


class UnownedPayment(BaseModel):
    """The input: only the processor's id of the payment; everything else is read from the processor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    payment_id: str = Field(min_length=1, max_length=255)


class Refunded(BaseModel):
    """The amount that was given back; 0 if somebody else has refunded it before."""

    model_config = ConfigDict(frozen=True)

    payment_id: str
    refunded_minor: int


@workflow("refund-payment", version=1, admin_may_start=True, failure_alarm="refund-failed")
async def refund_payment(ctx: WorkflowContext, unowned: UnownedPayment) -> Refunded:
    """Give a payment back in full."""
    amount = await ctx.run(
        refund, unowned.payment_id, retry=REFUND_RETRY, timeout=timedelta(seconds=15), reconcile=find_refund
    )
    return Refunded(payment_id=unowned.payment_id, refunded_minor=amount)
