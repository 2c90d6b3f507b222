"""The order workflow: its two stages, its undos, its signals."""

from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.clients import Clients, OrderTerms
from services.orchestrator.engine import WorkflowContext, workflow
from services.orchestrator.workflows.checkout import PaymentCaptured, checkout
from services.orchestrator.workflows.events import order_ended
from services.orchestrator.workflows.fulfillment import ADMIN_APPROVAL, Approval, Fulfilled, fulfill
from services.orchestrator.workflows.steps import cancel_shipment, release_stock, void_or_refund


@workflow(
    "order",
    version=1,
    promises={ADMIN_APPROVAL: Approval},
    awakeables=[PaymentCaptured],
    undos=[release_stock, void_or_refund, cancel_shipment],
    on_transition=order_ended,
)
async def order(ctx: WorkflowContext, placed: PlacedOrder) -> Fulfilled:
    """Take an order from checkout to delivery; undo everything if it cannot be done."""
    terms = ctx.side_effect(terms_of_today)
    receipt = await checkout(ctx, placed, terms)
    return await fulfill(ctx, placed, receipt, terms)


def terms_of_today(clients: Clients) -> OrderTerms:
    """The waiting times in force when the order starts."""
    return clients.terms
