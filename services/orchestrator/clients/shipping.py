"""The shipping service as steps see it: one shipment per order, cancelled by our reference; one try per call."""

from dataclasses import dataclass

from services.chassis.http import ServiceClient
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import ReservedItem
from services.contracts.shipping import CreateShipment, Shipment
from services.orchestrator.clients.answers import read

SERVICE = "shipping"


@dataclass(frozen=True, slots=True)
class ShippingClient:
    """Calls to shipping; `carrier-rejected` is a refusal, `carrier-unavailable` is unknown."""

    http: ServiceClient

    async def initiate(
        self, placed: PlacedOrder, *, key: str, deadline: float, acting_user: str | None = None
    ) -> Shipment:
        """Hand the order to the carrier; again gives the same shipment."""
        items = tuple(ReservedItem(sku=item.sku, quantity=item.quantity) for item in placed.items)
        answer = await self.http.request(
            "POST",
            "/shipments",
            body=CreateShipment(
                order_id=placed.order_id, attempt=placed.attempt, address=placed.shipping_address, items=items
            ),
            key=key,
            deadline=deadline,
            acting_user=acting_user,
        )
        return read(Shipment, answer, service=SERVICE)

    async def cancel(self, order_id: str, *, key: str, deadline: float, acting_user: str | None = None) -> None:
        """Cancel by order: also one never shipped, which leaves a tombstone against a late create."""
        await self.http.request(
            "POST", f"/shipments/{order_id}/cancel", key=key, deadline=deadline, acting_user=acting_user
        )
