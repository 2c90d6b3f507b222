"""The carrier's HTTP face: translation only."""

from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from simulators.carrier.fleet import Carrier
from simulators.clock import Clock
from simulators.keys import KeyHeader, answer_once, required
from simulators.settings import Settings
from simulators.simulator import build_app
from simulators.wire import LOSE_ANSWER

Reference = Annotated[str, StringConstraints(min_length=1, max_length=255)]
Text = Annotated[str, StringConstraints(min_length=1, max_length=255)]


class Address(BaseModel):
    """Where a parcel goes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Text
    street: Text
    city: Text
    postal_code: Text
    country: Text


class Item(BaseModel):
    """What is in a parcel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sku: Text
    quantity: Annotated[int, Field(ge=1, strict=True)]


class NewParcel(BaseModel):
    """`POST /parcels`: take a parcel; `reference` is the sender's own name for it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Reference
    address: Address
    items: Annotated[tuple[Item, ...], Field(min_length=1)]


class Named(BaseModel):
    """A request about all parcels of one reference."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reference: Reference


def create_app(*, clock: Clock | None = None, in_process: bool = False) -> FastAPI:
    """Make a carrier that keeps its fleet in memory."""
    return create_from(Settings(), clock=clock, in_process=in_process)


def create_from(settings: Settings, *, clock: Clock | None = None, in_process: bool = False) -> FastAPI:
    """Make a carrier from its settings."""
    carrier = Carrier(settings, clock=clock, in_process=in_process)
    return build_app(carrier, title="Carrier (simulated)", routers=[_parcels(carrier), _fleet(carrier)])


def _parcels(carrier: Carrier) -> APIRouter:
    router = APIRouter(prefix="/parcels", tags=["parcels"])

    @router.post("", status_code=201)
    async def create(wanted: NewParcel, request: Request, idempotency_key: KeyHeader = None) -> Response:
        """Take a parcel, once per key."""

        def handle() -> tuple[int, dict[str, Any]]:
            parcel = carrier.create(wanted.reference)
            if wanted.reference.startswith("SLOW_SHIP"):
                setattr(request.state, LOSE_ANSWER, True)
            return 201, parcel.view()

        return answer_once(
            carrier.storage,
            route="parcels",
            key=required(idempotency_key),
            body=wanted.model_dump_json(),
            handle=handle,
        )

    @router.get("")
    async def find(reference: Reference) -> dict[str, Any]:
        """Return the parcels of a reference."""
        return {"parcels": [parcel.view() for parcel in carrier.find(reference)]}

    @router.post("/cancel")
    async def cancel(wanted: Named) -> dict[str, Any]:
        """Cancel the parcels of a reference, and refuse later ones."""
        return {"reference": wanted.reference, "status": "cancelled", "cancelled": carrier.cancel(wanted.reference)}

    return router


def _fleet(carrier: Carrier) -> APIRouter:
    router = APIRouter()

    @router.get("/fleet", tags=["books"])
    async def fleet() -> dict[str, Any]:
        """Return every parcel, for a test to audit."""
        shown = ("parcel_id", "reference", "tracking_number", "status")
        return {"parcels": [{name: parcel.view()[name] for name in shown} for parcel in carrier.find()]}

    @router.post("/_control/parcels/deliver", tags=["control"])
    async def deliver(wanted: Named) -> dict[str, Any]:
        """Deliver the parcels of a reference."""
        return {"reference": wanted.reference, "delivered": carrier.deliver(wanted.reference)}

    return router
