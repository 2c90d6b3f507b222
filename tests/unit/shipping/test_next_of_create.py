"""What a create means for the shipment as it stands."""

from dataclasses import replace
from typing import Any

import pytest

from services.shipping.domain.errors import CarrierRejected, ShipmentCancelled, ShipmentConflict
from services.shipping.domain.shipment import Next, Parcel, StoredShipment, next_of_create

FRESH = StoredShipment(
    order_id="order-1",
    status="creating",
    shipment_id="shp_1",
    fingerprint="same",
    parcel=None,
    refusal=None,
    uncertain=False,
    undo_owed=False,
    epoch=0,
    lease="free",
)
REGISTERED = replace(FRESH, status="registered", parcel=Parcel("par_1", "express", "SX1"))


@pytest.mark.parametrize(
    ("shipment", "todo"),
    [
        (FRESH, Next.CREATE),
        (replace(FRESH, lease="lapsed"), Next.CREATE),
        (replace(FRESH, lease="held"), Next.WAIT),
        (REGISTERED, Next.ANSWER),
        (replace(REGISTERED, status="delivered"), Next.ANSWER),
        (replace(FRESH, status="refused", refusal="no", undo_owed=True), Next.UNDO),
    ],
)
def test_what_is_to_be_done(shipment: StoredShipment, todo: Next) -> None:
    """A free or lapsed lease is taken, a held one respected, a shipment answered, an owed undo made up for."""
    assert next_of_create(shipment, ["same"]) is todo


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"status": "refused", "refusal": "no such street"}, CarrierRejected),
        ({"status": "cancelled"}, ShipmentCancelled),
        ({"status": "cancelled", "fingerprint": None, "shipment_id": None}, ShipmentCancelled),
        ({"fingerprint": "other"}, ShipmentConflict),
        ({"fingerprint": "other", "lease": "held"}, ShipmentConflict),
    ],
)
def test_what_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    """A settled refusal, a tombstone and other content are final; the tombstone is told first."""
    with pytest.raises(error):
        next_of_create(replace(FRESH, **changes), ["same"])


def test_a_refusal_says_why() -> None:
    """The carrier's reason is told again."""
    with pytest.raises(CarrierRejected, match="no such street"):
        next_of_create(replace(FRESH, status="refused", refusal="no such street"), ["same"])
