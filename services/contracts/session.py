"""What session offers to the other services: reservations of stock and the executed mark of a checkout."""

from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, StringConstraints

from services.contracts.base import Contract, Identifier
from services.contracts.countries import assigned
from services.contracts.money import Money
from services.texts import Title, readable

Line = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ATTEMPTS_MAX: Final = 1_000_000
"""As far as the services count the attempts at an order."""
Attempt = Annotated[int, Field(ge=1, le=ATTEMPTS_MAX, strict=True)]
Quantity = Annotated[int, Field(ge=1, le=1_000_000, strict=True)]


class Address(Contract):
    """Where an order goes, as it is stored and passed on.

    `country` is ISO 3166-1 alpha-2, or `ZZ` where there is no address: every other field is `erased` once its customer
    has been, and `unreadable` while its sealing key is not at hand.
    """

    name: Line
    street: Line
    city: Line
    postal_code: Annotated[str, StringConstraints(min_length=1, max_length=20)]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")]


class GivenAddress(Address):
    """Where somebody wants an order to go: readable, and in a country that there is (ISO 3166-1 alpha-2)."""

    name: Title
    street: Title
    city: Title
    postal_code: Annotated[str, StringConstraints(min_length=1, max_length=20), AfterValidator(readable)]
    country: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$"), AfterValidator(assigned)]


class OrderItem(Contract):
    """One line of an order, with the price at which it was frozen."""

    sku: Identifier
    name: Line
    quantity: Quantity
    unit_price: Money


class ReservedItem(Contract):
    """How many pieces of a sku an attempt holds."""

    sku: Identifier
    quantity: Quantity


class ReserveStock(Contract):
    """`PUT /reservations/{order_id}`: hold stock for one attempt."""

    attempt: Attempt
    items: Annotated[tuple[ReservedItem, ...], Field(min_length=1, max_length=1_000)]


class Reservation(Contract):
    """The stock that an attempt holds, was sold, or gave back."""

    order_id: Identifier
    attempt: Attempt
    status: Literal["held", "sold", "released"]


class MarkExecuted(Contract):
    """`POST /checkouts/{order_id}/executed`: the payment of this attempt has succeeded."""

    attempt: Attempt


class CheckoutExecuted(Contract):
    """The executed mark of a checkout; it is never cleared."""

    order_id: Identifier
    attempt: Attempt
    executed: Literal[True] = True
