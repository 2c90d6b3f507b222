"""The client of shipping: one shipment per order, found and cancelled by the order id; one try per call."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.chassis.outbound.http import ServiceClient
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import ReservedItem
from services.contracts.shipping import (
    CARRIER_MISCONFIGURED,
    SHIPMENT_UNKNOWN,
    CreateShipment,
    Shipment,
    ShipmentCancelled,
)
from services.orchestrator.clients.answers import read_of

SERVICE = "shipping"


@dataclass(frozen=True, slots=True)
class ShippingClient:
    """Calls to shipping; `carrier-rejected` is a refusal, `carrier-unavailable` is unknown.

    `carrier-misconfigured` counts as a misconfiguration of ours: an operator mends it, and no order is undone for it.
    """

    http: ServiceClient

    async def initiate(
        self, placed: PlacedOrder, *, key: str, deadline: float, acting_user: str | None = None
    ) -> Shipment:
        """Hand the order to the carrier; again gives the same shipment."""
        items = tuple(ReservedItem(sku=item.sku, quantity=item.quantity) for item in placed.items)
        with _let_in_by_the_carrier():
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
        return read_of(placed.order_id, Shipment, answer, service=SERVICE)

    async def find(self, order_id: str, *, deadline: float, acting_user: str | None = None) -> Shipment | None:
        """Return the shipment of an order; None if there is none, or it is cancelled. RemoteUnknown while it is made.

        What an unanswered call of shipping's may have left at the carrier, its next create or cancel settles there.
        """
        try:
            answer = await self.http.request(
                "GET", f"/shipments/{order_id}", deadline=deadline, acting_user=acting_user
            )
        except RemoteRefused as refusal:
            if refusal.code != SHIPMENT_UNKNOWN:
                raise
            return None
        shipment = read_of(order_id, Shipment, answer, service=SERVICE)
        return None if shipment.status == "cancelled" else shipment

    async def cancel(self, order_id: str, *, key: str, deadline: float, acting_user: str | None = None) -> None:
        """Cancel by order: also one never shipped, which leaves a tombstone against a late create."""
        with _let_in_by_the_carrier():
            answer = await self.http.request(
                "POST", f"/shipments/{order_id}/cancel", key=key, deadline=deadline, acting_user=acting_user
            )
        read_of(order_id, ShipmentCancelled, answer, service=SERVICE)


@contextmanager
def _let_in_by_the_carrier() -> Iterator[None]:
    """Tell a carrier that does not let shipping in from one that does not answer."""
    try:
        yield
    except RemoteUnknown as error:
        if error.remote_code != CARRIER_MISCONFIGURED:
            raise
        raise RemoteMisconfigured(error.message, service=error.service, status=error.status) from error
