"""What shipping offers to the other services: one shipment per order."""

from typing import Annotated, Literal

from pydantic import Field

from services.contracts.base import Contract, Identifier, Secret
from services.contracts.session import Address, Attempt, ReservedItem

CARRIER_MISCONFIGURED = "carrier-misconfigured"
"""The code of a 503: the carrier does not let shipping in. Trying again helps only once a person has mended that."""

SHIPMENT_UNKNOWN = "shipment-unknown"
"""The code of a 404: the order has no shipment, and nobody is making one now."""


class CreateShipment(Contract):
    """`POST /shipments`: hand an order to the carrier."""

    order_id: Identifier
    attempt: Attempt
    address: Annotated[Address, Secret(), Field(repr=False)]
    items: Annotated[tuple[ReservedItem, ...], Field(min_length=1, max_length=1_000)]


class Shipment(Contract):
    """A parcel under way."""

    shipment_id: str
    order_id: Identifier
    carrier: str
    tracking_number: str
    status: Literal["registered", "delivered", "cancelled"]


class ShipmentCancelled(Contract):
    """The answer to a cancel, for an order shipped or never shipped."""

    order_id: Identifier
    status: Literal["cancelled"] = "cancelled"
