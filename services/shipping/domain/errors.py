"""Refusals of shipping.

RequestError
├── Conflict
│   ├── ShipmentCancelled
│   ├── ShipmentConflict
│   └── AlreadyDelivered
├── Invalid
│   └── CarrierRejected
├── NotFound
│   └── ShipmentUnknown
└── Unavailable
    ├── CarrierUnavailable
    └── CarrierMisconfigured
"""

from services.chassis.errors import Conflict, Invalid, NotFound, Unavailable
from services.contracts.shipping import CARRIER_MISCONFIGURED, SHIPMENT_UNKNOWN


class ShipmentCancelled(Conflict):
    """The shipment of this order was cancelled, and will not be made again."""

    code = "shipment-cancelled"
    final = True


class ShipmentConflict(Conflict):
    """This order was handed in before with another address or other items."""

    code = "shipment-conflict"
    final = True


class AlreadyDelivered(Conflict):
    """The parcel was delivered, so it cannot be cancelled."""

    code = "already-delivered"
    final = True


class CarrierRejected(Invalid):
    """The carrier does not take this parcel; trying again will not help."""

    code = "carrier-rejected"
    final = True


class ShipmentUnknown(NotFound):
    """There is no shipment of this order."""

    code = SHIPMENT_UNKNOWN


class CarrierUnavailable(Unavailable):
    """The carrier does not answer; come back later."""

    code = "carrier-unavailable"


class CarrierMisconfigured(Unavailable):
    """The carrier does not let us in, which a person has to mend; come back later."""

    code = CARRIER_MISCONFIGURED
