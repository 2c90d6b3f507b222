"""Shipments over HTTP, for the other services; translation only."""

from typing import Annotated, Final

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from pydantic import ConfigDict, Field
from pydantic.config import JsonDict

from services.chassis.errors import InFlight, Invalid, KeyReused
from services.chassis.inbound.answering import answer_without_transaction
from services.chassis.inbound.auth import authenticated
from services.chassis.inbound.idempotency import OptionalKey, RequiredKey, StoredAnswer, claiming
from services.chassis.inbound.problems import problem_responses
from services.chassis.inbound.requests import Identifier, PathId, RequestModel
from services.chassis.inbound.response_headers import LOCATION, with_header
from services.chassis.logs import bound
from services.contracts.session import Address, Attempt, Quantity, ReservedItem
from services.contracts.shipping import CreateShipment, Shipment
from services.contracts.shipping import ShipmentCancelled as Cancelled
from services.shipping.api.resources import AppResources
from services.shipping.domain.errors import (
    AlreadyDelivered,
    CarrierMisconfigured,
    CarrierRejected,
    CarrierUnavailable,
    ShipmentCancelled,
    ShipmentConflict,
    ShipmentUnknown,
)
from services.shipping.domain.shipment import StoredShipment

router = APIRouter(tags=["shipments"], dependencies=[Depends(authenticated("service"))])

EXAMPLE: Final[JsonDict] = {
    "order_id": "order-123",
    "attempt": 1,
    "address": {"name": "Ada", "street": "1 Row", "city": "London", "postal_code": "N1 9GU", "country": "GB"},
    "items": [{"sku": "book", "quantity": 2}],
}


class Item(RequestModel):
    """How many pieces of a sku go into the parcel."""

    sku: Identifier
    quantity: Quantity


class ShipmentRequest(RequestModel):
    """The order to hand to the carrier."""

    order_id: Identifier
    attempt: Attempt
    address: Address
    items: Annotated[tuple[Item, ...], Field(strict=False, min_length=1, max_length=1_000)]

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    def contract(self) -> CreateShipment:
        """Return it as the services say it to each other."""
        items = tuple(ReservedItem(sku=item.sku, quantity=item.quantity) for item in self.items)
        return CreateShipment(order_id=self.order_id, attempt=self.attempt, address=self.address, items=items)


@router.post(
    "/shipments",
    status_code=201,
    summary="Hand an order to the carrier",
    response_model=Shipment,
    responses={
        200: {"model": Shipment, "description": "The shipment was there"} | with_header(LOCATION),
        201: with_header(LOCATION),
        **problem_responses(
            ShipmentCancelled,
            ShipmentConflict,
            InFlight,
            Invalid,
            KeyReused,
            CarrierRejected,
            CarrierUnavailable,
            CarrierMisconfigured,
        ),
    },
)
async def create(
    wanted: ShipmentRequest,
    resources: AppResources,
    key: RequiredKey,
) -> Response:
    """Make the one shipment of an order, or find it.

    422 `carrier-rejected` is final. 503 `carrier-unavailable` may be tried again, with the same key; so may
    `carrier-misconfigured`, which ends once a person has mended our address or credentials at the carrier.
    """

    async def handle() -> StoredAnswer:
        made = await resources.dispatch.create(wanted.contract(), claiming(key, resources.clock))
        where = {"Location": f"/shipments/{wanted.order_id}"}
        return StoredAnswer.of(201 if made.created else 200, view(made.shipment), where)

    with bound(order_id=wanted.order_id):
        return await answer_without_transaction(resources.database, resources.clock, key, handle)


@router.get(
    "/shipments/{order_id}",
    summary="Find the shipment of an order",
    responses=problem_responses(ShipmentUnknown, InFlight),
)
async def get(order_id: PathId, resources: AppResources) -> Shipment:
    """Return what was handed to the carrier; 409 `in-flight` while that is being done."""
    shipment = await resources.dispatch.find(order_id)
    if shipment is not None and shipment.status == "creating" and shipment.lease == "held":
        raise InFlight("This shipment is being created.")
    if shipment is None or shipment.parcel is None:
        raise ShipmentUnknown
    return view(shipment)


@router.post(
    "/shipments/{order_id}/cancel",
    summary="Take a shipment back, or keep it from being made",
    response_model=Cancelled,
    responses=problem_responses(
        AlreadyDelivered, InFlight, Invalid, KeyReused, CarrierUnavailable, CarrierMisconfigured
    ),
)
async def cancel(
    order_id: PathId,
    resources: AppResources,
    key: OptionalKey,
) -> Response:
    """Cancel by order, idempotently; an order never shipped is kept from being shipped later."""

    async def handle() -> StoredAnswer:
        await resources.dispatch.cancel(order_id)
        return StoredAnswer.of(200, Cancelled(order_id=order_id))

    with bound(order_id=order_id):
        return await answer_without_transaction(resources.database, resources.clock, key, handle)


def view(shipment: StoredShipment) -> Shipment:
    """Return a shipment that has a parcel as callers see it."""
    if shipment.parcel is None or shipment.shipment_id is None:
        raise ShipmentUnknown
    status = shipment.status if shipment.status in ("delivered", "cancelled") else "registered"
    return Shipment(
        shipment_id=shipment.shipment_id,
        order_id=shipment.order_id,
        carrier=shipment.parcel.carrier,
        tracking_number=shipment.parcel.tracking_number,
        status=status,
    )
