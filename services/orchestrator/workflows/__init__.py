"""Every workflow that this orchestrator runs, and the names of them that the callbacks need."""

from services.orchestrator.workflows.checkout import PaymentCaptured
from services.orchestrator.workflows.fulfillment import ADMIN_APPROVAL, Approval
from services.orchestrator.workflows.order import order
from services.orchestrator.workflows.refund import UnownedPayment, refund_payment

__all__ = ["ADMIN_APPROVAL", "REGISTRY", "Approval", "PaymentCaptured", "UnownedPayment", "order", "refund_payment"]

REGISTRY = (order, refund_payment)
"""The explicit list; a version that still has live sagas stays on it."""
