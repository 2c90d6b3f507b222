"""The workflows of this orchestrator, and the names that its API needs from them."""

from services.orchestrator.workflows.checkout import PaymentCaptured
from services.orchestrator.workflows.fulfillment import ADMIN_APPROVAL, Approval
from services.orchestrator.workflows.order import order
from services.orchestrator.workflows.refund import UnownedPayment, refund_payment

__all__ = ["ADMIN_APPROVAL", "REGISTRY", "Approval", "PaymentCaptured", "UnownedPayment", "order", "refund_payment"]

REGISTRY = (order, refund_payment)
"""All workflows. An old version stays in this list as long as it has live sagas."""
