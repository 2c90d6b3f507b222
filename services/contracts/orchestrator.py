"""What the orchestrator offers to the other services: start and cancel a saga."""

from typing import Annotated, Any

from pydantic import Field, StringConstraints

from services.contracts.base import Contract, Identifier, Secret
from services.contracts.money import Money
from services.contracts.session import Address, Attempt, OrderItem
from services.texts import KeptReason

SAGA_CANCELLED = "saga-cancelled"
"""The code of the 409 to a cancel of a saga that has ended as cancelled: what was asked for has come about."""
SAGA_CONFLICT = "saga-conflict"
"""The code of the 409 to a start of a saga that is there with another input."""


class PlacedOrder(Contract):
    """The input of the workflow `order`: one attempt at one order, frozen at checkout."""

    order_id: Identifier
    attempt: Attempt
    user_id: Identifier
    items: Annotated[tuple[OrderItem, ...], Field(min_length=1, max_length=1_000)]
    total: Money
    shipping_address: Annotated[Address, Secret(), Field(repr=False)]
    payment_token: Annotated[str, StringConstraints(min_length=1, max_length=255), Secret(), Field(repr=False)]


class StartSaga(Contract):
    """`POST /sagas`: start a workflow once per key; `delay_s` in seconds."""

    workflow: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    key: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    input: Any
    subject: Identifier | None = None
    delay_s: Annotated[float, Field(ge=0, le=31_536_000)] = 0


class SagaStarted(Contract):
    """The saga that runs, or has run, for this workflow and key."""

    saga_id: str
    workflow: str
    key: str
    status: str


class EraseUser(Contract):
    """`POST /users/{user_id}/erase`: blank what a customer's ended sagas hold."""

    reason: KeptReason


class CancelSaga(Contract):
    """`POST /sagas/{saga_id}/cancel`: unwind a saga."""

    reason: KeptReason
