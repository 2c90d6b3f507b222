"""How a payment's result settles an awakeable, by webhook or by a service; late money gets its owner here."""

from collections.abc import Mapping
from typing import Any

from services.orchestrator.engine import Operations, Settlement, StartRequest
from services.orchestrator.workflows import PaymentCaptured, UnownedPayment, refund_payment


async def captured(
    operations: Operations, awakeable_id: str, money: PaymentCaptured, *, by: str, facts: Mapping[str, Any]
) -> Settlement:
    """Settle with a success; one that settles nothing starts `refund-payment` in the same transaction."""
    return await operations.resolve_awakeable(
        awakeable_id,
        money.model_dump(mode="json"),
        by=by,
        # A payment may fail first and be captured later: the engine takes only a capture for a repeat of a capture.
        identity=money.payment_id,
        facts=facts,
        otherwise=StartRequest(
            workflow=refund_payment.name,
            key=money.payment_id,
            input=UnownedPayment(payment_id=money.payment_id).model_dump(mode="json"),
        ),
    )


async def declined(
    operations: Operations,
    awakeable_id: str,
    *,
    payment_id: str,
    code: str,
    message: str,
    by: str,
    facts: Mapping[str, Any],
) -> Settlement:
    """Settle with a failure."""
    return await operations.reject_awakeable(
        awakeable_id, code, message or code, by=by, identity=payment_id, facts=facts
    )
