"""The client of session: reservations of stock, and the executed mark; one try per call."""

from dataclasses import dataclass

from services.chassis.errors import RemoteUnknown
from services.chassis.messaging.outbox import Message
from services.chassis.outbound.http import Answer, ServiceClient
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import CheckoutExecuted, MarkExecuted, Reservation, ReservedItem, ReserveStock
from services.orchestrator.clients.answers import read_of

SERVICE = "session"


def takes_events(_message: Message, _body: str, answer: Answer) -> bool:
    """Say whether an answer to an event comes from session: session answers without a body."""
    return answer.data is None


@dataclass(frozen=True, slots=True)
class SessionClient:
    """Calls to session; refusals are `RemoteRefused`, everything doubtful is `RemoteUnknown`."""

    http: ServiceClient

    async def reserve(
        self, placed: PlacedOrder, *, key: str, deadline: float, acting_user: str | None = None
    ) -> Reservation:
        """Hold the stock of this attempt; refused with `out-of-stock`, naming the sku."""
        items = tuple(ReservedItem(sku=item.sku, quantity=item.quantity) for item in placed.items)
        answer = await self.http.request(
            "PUT",
            f"/reservations/{placed.order_id}",
            body=ReserveStock(attempt=placed.attempt, items=items),
            key=key,
            deadline=deadline,
            acting_user=acting_user,
        )
        return read_of(placed.order_id, Reservation, answer, service=SERVICE)

    async def release(self, placed: PlacedOrder, *, key: str, deadline: float, acting_user: str | None = None) -> None:
        """Give the stock of this attempt back; it can never be held again."""
        answer = await self.http.request(
            "DELETE",
            f"/reservations/{placed.order_id}",
            params={"attempt": str(placed.attempt)},
            key=key,
            deadline=deadline,
            acting_user=acting_user,
        )
        if answer.data is not None:  # session answers without a body; whoever sends one has not released anything
            raise RemoteUnknown(f"{SERVICE} answered {answer.status} with a body", service=SERVICE)

    async def mark_executed(
        self, placed: PlacedOrder, *, key: str, deadline: float, acting_user: str | None = None
    ) -> CheckoutExecuted:
        """Mark the checkout executed, which empties its lines from the basket; refused without a reservation."""
        answer = await self.http.request(
            "POST",
            f"/checkouts/{placed.order_id}/executed",
            body=MarkExecuted(attempt=placed.attempt),
            key=key,
            deadline=deadline,
            acting_user=acting_user,
        )
        return read_of(placed.order_id, CheckoutExecuted, answer, service=SERVICE)
