"""The composition root of the shipping service: wires database, clock, carrier and routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import httpx
from fastapi import FastAPI

from services.chassis import upkeep
from services.chassis.app import build_app
from services.chassis.clock import Clock
from services.chassis.hooks import ChassisHooks
from services.chassis.inbound import idempotency
from services.chassis.loop import Loop
from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.postgres.database import Database
from services.shipping.api import shipments
from services.shipping.api.resources import Resources
from services.shipping.clients.carrier import CarrierClient
from services.shipping.dispatch import Dispatch
from services.shipping.settings import ShippingSettings

NAME: Final = "shipping"
DATABASE_SETTING: Final = "SHIPPING_DATABASE_URL"
SCHEMA: Final = "0002"
"""The migration that this code needs; a newer schema does as well, as that one's docstring says."""
DESCRIPTION: Final = "One shipment per order: created at the carrier, found, cancelled. No state in memory."


def create_app(
    settings: ShippingSettings | None = None,
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    background: bool = True,
    hooks: ChassisHooks | None = None,
) -> FastAPI:
    """Return the app; nothing is opened before its lifespan starts.

    `clock` and `http` are a test's; whoever gives `http` closes it. Without `background` no loop runs, and whoever
    uses the app drives `app.state.dispatch.sweep()`. `hooks` hear of the moments between writes.
    """
    given = settings if settings is not None else ShippingSettings.load()
    time = clock if clock is not None else Clock(given.clock_skew_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(given.database_url, application_name=NAME, pool_size=given.database_pool_size, hooks=hooks)
        outbound = http if http is not None else outbound_http(given)
        try:
            await database.wait_until_usable(time, setting=DATABASE_SETTING, schema=SCHEMA)
            dispatch = _dispatch(app, given, database, time, outbound)
            app.state.database, app.state.dispatch = database, dispatch
            app.state.resources = Resources(database, time, dispatch)
            app.state.chassis.health.add("postgres", database.check_writable)
            loops = _loops(database, time, dispatch) if background else []
            for loop in loops:
                loop.start()
            try:
                yield
            finally:
                for loop in loops:
                    await loop.stop()
        finally:
            if http is None:
                await outbound.aclose()
            await database.close()

    return build_app(
        name=NAME,
        settings=given,
        routers=[shipments.router],
        lifespan=lifespan,
        description=DESCRIPTION,
        clock=time,
        hooks=hooks,
    )


def _dispatch(
    app: FastAPI, settings: ShippingSettings, database: Database, clock: Clock, http: httpx.AsyncClient
) -> Dispatch:
    carrier = ServiceClient(service="carrier", base_url=settings.carrier_url, http=http, clock=clock, tokens=None)
    return Dispatch(
        database=database,
        clock=clock,
        carrier=CarrierClient(carrier, clock=clock, timeout_s=settings.carrier_timeout_s),
        metrics=app.state.chassis.metrics,
        lease_s=settings.shipment_lease_s,
        fingerprints=app.state.chassis.fingerprints,
    )


def _loops(database: Database, clock: Clock, dispatch: Dispatch) -> list[Loop]:
    """What a replica does by itself: confirm owed cancels, forget old keys, keep its clock by the database's."""

    async def sweep() -> float:
        return await dispatch.sweep(stopping=lambda: sweeping.stopping)

    sweeping = Loop("undo-sweep", sweep, clock=clock)
    return [
        sweeping,
        upkeep.janitor(database, clock, (idempotency.purge,)),
        upkeep.calibration(database, clock),
    ]
