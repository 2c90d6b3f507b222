"""Settling an order's awakeable with the result of a payment; a captured payment that comes too late is refunded."""

from collections.abc import Mapping
from typing import Any

from services.orchestrator.engine import Operations, Settlement, StartRequest
from services.orchestrator.workflows import PaymentCaptured, UnownedPayment, refund_payment


async def settle_captured(
    operations: Operations, awakeable_id: str, money: PaymentCaptured, *, by: str, facts: Mapping[str, Any]
) -> Settlement:
    """Settle with a captured payment; if that comes too late, start `refund-payment` in the same transaction."""
    return await operations.resolve_awakeable(
        awakeable_id,
        money.model_dump(mode="json"),
        by=by,
        # A payment may fail first and be captured later; only another capture counts as a repeat of a capture.
        identity=money.payment_id,
        facts=facts,
        otherwise=StartRequest(
            workflow=refund_payment.name,
            key=money.payment_id,
            input=UnownedPayment(payment_id=money.payment_id).model_dump(mode="json"),
        ),
    )


async def settle_declined(
    operations: Operations,
    awakeable_id: str,
    *,
    payment_id: str,
    code: str,
    message: str,
    by: str,
    facts: Mapping[str, Any],
) -> Settlement:
    """Settle with a declined payment."""
    return await operations.reject_awakeable(
        awakeable_id, code, message or code, by=by, identity=payment_id, facts=facts
    )
