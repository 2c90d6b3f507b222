"""The composition root of the session service: wires database, clock, relay and routes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import httpx
from fastapi import FastAPI

from services.chassis import dead_letters, upkeep
from services.chassis.app import build_app
from services.chassis.clock import Clock
from services.chassis.hooks import ChassisHooks
from services.chassis.inbound import idempotency
from services.chassis.messaging import inbox
from services.chassis.messaging.outbox import Message
from services.chassis.messaging.relay import Relay
from services.chassis.outbound.http import Answer, ServiceClient, outbound_http
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.session import messages
from services.session.api import carts, catalog, checkouts, erasure, events, orders, reservations
from services.session.api.resources import Resources
from services.session.resealing import ADDRESSES_UNREADABLE, resealing
from services.session.samples import add_samples
from services.session.settings import SessionSettings

NAME: Final = "session"
DATABASE_SETTING: Final = "SESSION_DATABASE_URL"
SCHEMA: Final = "0003"
"""The migration that this code needs; a newer schema does as well, as that one's docstring says."""
DESCRIPTION: Final = (
    "Catalogue and stock, baskets, checkouts, and orders as the customer sees them; one writer per user."
)
ROUTERS: Final = (
    catalog.router,
    carts.router,
    checkouts.router,
    orders.router,
    erasure.router,
    reservations.router,
    events.router,
    dead_letters.router,
)


def create_app(
    settings: SessionSettings | None = None,
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    background: bool = True,
    hooks: ChassisHooks | None = None,
) -> FastAPI:
    """Return the app; nothing is opened before its lifespan starts.

    `clock` and `http` are a test's; whoever gives `http` closes it. Without `background` no loop runs, and whoever
    uses the app drives `app.state.relay`. `hooks` hear of the moments between writes.
    """
    given = settings if settings is not None else SessionSettings.load()
    time = clock if clock is not None else Clock(given.clock_skew_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database(given.database_url, application_name=NAME, pool_size=given.database_pool_size, hooks=hooks)
        outbound = http if http is not None else outbound_http(given)
        try:
            seed = partial(add_samples, database) if given.seeds_catalog else None
            await database.wait_until_usable(time, setting=DATABASE_SETTING, schema=SCHEMA, first=seed)
            sealer = Sealer([key.get_secret_value() for key in given.encryption_keys])
            relay = _relay(app, given, database, time, outbound, sealer, hooks)
            app.state.database, app.state.relay = database, relay
            app.state.on_discard = {messages.START_SAGA: messages.give_up_start}
            app.state.resources = Resources(database, time, relay, app.state.chassis.metrics, given, sealer)
            app.state.chassis.metrics.expect_alarms(*events.ALARMS, ADDRESSES_UNREADABLE)
            app.state.chassis.health.add("postgres", database.check_writable)
            duties = [
                relay.loop,
                upkeep.janitor(database, time, (idempotency.purge, inbox.purge)),
                upkeep.calibration(database, time),
                resealing(database, time, sealer, app.state.chassis.metrics),
            ]
            loops = duties if background else []
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
        routers=ROUTERS,
        lifespan=lifespan,
        description=DESCRIPTION,
        clock=time,
        hooks=hooks,
    )


def _relay(
    app: FastAPI,
    settings: SessionSettings,
    database: Database,
    clock: Clock,
    http: httpx.AsyncClient,
    sealer: Sealer,
    hooks: ChassisHooks | None,
) -> Relay:
    orchestrator = ServiceClient(
        service=messages.ORCHESTRATOR,
        base_url=settings.orchestrator_url,
        http=http,
        clock=clock,
        tokens=app.state.chassis.tokens,
    )

    async def cancel_answered(conn: Connection, message: Message, answer: Answer) -> None:
        await messages.record_refused_cancel(conn, message, answer, now=clock.sql_now())

    return Relay(
        database=database,
        clock=clock,
        addresses={messages.ORCHESTRATOR: orchestrator},
        answers={messages.CANCEL_SAGA: cancel_answered},
        answer_checks=messages.ANSWER_CHECKS,
        sealer=sealer,
        hooks=hooks,
        metrics=app.state.chassis.metrics,
    )
