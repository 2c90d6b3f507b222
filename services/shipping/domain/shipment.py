"""A shipment and what may happen to it next.

    (nothing) ──claim──▶ creating ──▶ registered ──▶ delivered
        │                   │              │
        │                   ├──▶ refused   │
        ▼                   ▼      ▼       ▼
        └──────────────▶ cancelled, for good

`creating` is worked on by whoever holds the lease at the present epoch. `uncertain`: a try to create the parcel may
have taken effect unseen, so that a refusal is believed only after a cancel by reference. `undo_owed`: the row says
that there must be no parcel, and the carrier has not confirmed it yet.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from services.shipping.domain.errors import CarrierRejected, ShipmentCancelled, ShipmentConflict

Status = Literal["creating", "registered", "refused", "cancelled", "delivered"]
Lease = Literal["free", "held", "lapsed"]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What the carrier made of an order."""

    parcel_id: str
    carrier: str
    tracking_number: str
    delivered: bool = False


@dataclass(frozen=True, slots=True)
class StoredShipment:
    """The row of an order; `parcel` and `shipment_id` are None where nothing was shipped.

    `lease` is by the database's clock; `lapsed` means that its holder has died or hangs.
    """

    order_id: str
    status: Status
    shipment_id: str | None
    fingerprint: str | None
    parcel: Parcel | None
    refusal: str | None
    uncertain: bool
    undo_owed: bool
    epoch: int
    lease: Lease


class Next(Enum):
    """What a request to create a shipment has to do."""

    CREATE = "take the lease and call the carrier"
    WAIT = "somebody else is at it"
    ANSWER = "the shipment is there"
    UNDO = "the shipment was refused, and the carrier has yet to confirm that nothing is left of it"


def refusal_of(shipment: StoredShipment) -> ShipmentCancelled | CarrierRejected:
    """Return the error that says why a cancelled or refused shipment has no parcel."""
    return ShipmentCancelled() if shipment.status == "cancelled" else CarrierRejected(shipment.refusal)


def next_of_create(shipment: StoredShipment, fingerprints: Collection[str]) -> Next:
    """Decide what a create means for the shipment as it stands; refusals are raised.

    `fingerprints` are all by which the request may be known.
    """
    if shipment.status == "cancelled":
        raise refusal_of(shipment)
    if shipment.fingerprint not in fingerprints:
        raise ShipmentConflict
    if shipment.status == "refused":
        if shipment.undo_owed:
            return Next.UNDO
        raise refusal_of(shipment)
    if shipment.status == "creating":
        return Next.WAIT if shipment.lease == "held" else Next.CREATE
    return Next.ANSWER
