"""The composition root of the orchestrator: wires database, clock, clients, engine, relay and routes."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from functools import partial
from typing import Final, NamedTuple, get_args

import httpx
from fastapi import FastAPI

from services.chassis import dead_letters, upkeep
from services.chassis.app import Chassis, build_app
from services.chassis.clock import Clock
from services.chassis.hooks import ChassisHooks
from services.chassis.inbound import idempotency
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.messaging import inbox
from services.chassis.messaging.relay import Relay
from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.contracts.events import OrderStatus
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.api import audit, erasure, operations, problem_pages, sagas, signals, webhooks
from services.orchestrator.api.approval_links import ApprovalLinks
from services.orchestrator.api.approvals import deciding, login, waiting
from services.orchestrator.api.resources import Resources
from services.orchestrator.api.sign_in import SignIn
from services.orchestrator.clients import (
    Clients,
    LogNotifier,
    MailNotifier,
    MailServer,
    Notifier,
    OrderTerms,
    PaymentClient,
    SessionClient,
    ShippingClient,
)
from services.orchestrator.clients.session import takes_events
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, EngineHooks, EngineSettings, Registry
from services.orchestrator.settings import DEVELOPMENT_ADMIN, OrchestratorSettings
from services.orchestrator.telemetry import Telemetry, take_census
from services.orchestrator.workflows import ADMIN_APPROVAL, REGISTRY
from services.orchestrator.workflows.events import event_name

NAME: Final = "orchestrator"
DATABASE_SETTING: Final = "ORCHESTRATOR_DATABASE_URL"
SCHEMA: Final = "0008"
"""The migration that this code needs; a newer schema does as well, as that one's docstring says."""
DESCRIPTION: Final = (
    "Runs the sagas of orders: starts, steps, waits, timers and undos, the payment webhook and the approval of orders."
)
ENGINE_POOL: Final = 5
"""Connections of the engine alone, so that its work never waits behind requests for one."""
TRANSACTIONS_MAX: Final = 2
"""Transactions of workflows at once, each on a connection that is made when the first one runs."""


class Pools(NamedTuple):
    """Connections to the one database: for requests, for the engine, and for the transactions of workflows."""

    requests: Database
    engine: Database
    transactions: Database


ROUTERS: Final = (
    sagas.router,
    operations.router,
    signals.router,
    webhooks.router,
    waiting.router,
    deciding.router,
    login.router,
    audit.router,
    erasure.router,
    dead_letters.router,
)


def create_app(
    settings: OrchestratorSettings | None = None,
    *,
    clock: Clock | None = None,
    http: httpx.AsyncClient | None = None,
    background: bool = True,
    hooks: ChassisHooks | None = None,
    engine_hooks: EngineHooks | None = None,
) -> FastAPI:
    """Return the app; nothing is opened before its lifespan starts.

    `clock` and `http` are a test's; whoever gives `http` closes it. Without `background` no loop runs, and whoever
    uses the app drives `app.state.engine` and `app.state.relay`. `hooks` and `engine_hooks`, instead of the telemetry,
    hear of the moments between writes.
    """
    given = settings if settings is not None else OrchestratorSettings.load()
    time = clock if clock is not None else Clock(given.clock_skew_s)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            connected = partial(Database, given.database_url, hooks=hooks)
            database = connected(application_name=NAME, pool_size=given.database_pool_size)
            stack.push_async_callback(database.close)
            engine_database = connected(application_name=f"{NAME} engine", pool_size=ENGINE_POOL)
            stack.push_async_callback(engine_database.close)
            transactions_database = connected(application_name=f"{NAME} transactions", pool_size=TRANSACTIONS_MAX)
            stack.push_async_callback(transactions_database.close)
            outbound = http if http is not None else await stack.enter_async_context(outbound_http(given))
            await database.wait_until_usable(time, setting=DATABASE_SETTING, schema=SCHEMA)
            pools = Pools(database, engine_database, transactions_database)
            relay, engine = _wire(app, given, pools, time, outbound, hooks=hooks, engine_hooks=engine_hooks)
            for loop in _duties(app, relay, engine, time) if background else ():
                loop.start()
                stack.push_async_callback(loop.stop)
            # Stopped before the relay: what its last steps have to say may still leave.
            stack.push_async_callback(engine.stop, grace_s=given.shutdown_grace_s)
            if background:
                await engine.start()
            _announce(given)
            yield

    app = build_app(
        name=NAME,
        settings=given,
        routers=ROUTERS,
        lifespan=lifespan,
        description=DESCRIPTION,
        clock=time,
        hooks=hooks,
    )
    app.add_middleware(problem_pages.ProblemPages)
    problem_pages.describe(app)
    return app


def _duties(app: FastAPI, relay: Relay, engine: Engine, clock: Clock) -> tuple[Loop, ...]:
    """What is done again and again beside the engine's own loops."""
    database: Database = app.state.database
    census = partial(take_census, engine.operations, app.state.chassis.metrics, clock)
    return (
        relay.loop,
        upkeep.janitor(database, clock, (idempotency.purge, inbox.purge)),
        upkeep.calibration(database, clock),
        Loop("census", census, clock=clock),
    )


def _wire(
    app: FastAPI,
    settings: OrchestratorSettings,
    pools: Pools,
    clock: Clock,
    http: httpx.AsyncClient,
    *,
    hooks: ChassisHooks | None,
    engine_hooks: EngineHooks | None,
) -> tuple[Relay, Engine]:
    """Put everything together and on the app."""
    chassis: Chassis = app.state.chassis
    database = pools.requests
    clients = _clients(chassis, settings, clock, http)
    relay = Relay(
        database=database,
        clock=clock,
        addresses={"session": clients.session.http},
        answer_checks={event_name(status): takes_events for status in get_args(OrderStatus)},
        hooks=hooks,
        metrics=chassis.metrics,
    )
    registry = Registry(REGISTRY)
    codec = PydanticCodec(Sealer([key.get_secret_value() for key in settings.encryption_keys]))
    engine = Engine(
        registry=registry,
        codec=codec,
        clients=clients,
        database=pools.engine,
        operations_database=database,
        transactions_database=pools.transactions,
        clock=clock,
        settings=EngineSettings(
            lease_s=settings.lease_s, replica=settings.replica or "", transactions_max=TRANSACTIONS_MAX
        ),
        hooks=engine_hooks or Telemetry(chassis.metrics),
        on_enqueued=relay.nudge,
    )
    chassis.metrics.expect_alarms(*webhooks.ALARMS)
    approval_secrets = tuple(secret.get_secret_value() for secret in settings.approval_secrets)
    app.state.database, app.state.relay, app.state.engine = database, relay, engine
    app.state.on_discard = {}
    app.state.resources = Resources(
        operations=engine.operations,
        registry=registry,
        database=database,
        clock=clock,
        metrics=chassis.metrics,
        webhooks=chassis.metrics.counter("webhooks_total", "Payment webhooks, by what they came to.", ("outcome",)),
        webhook_secrets=tuple(secret.get_secret_value() for secret in settings.payment_webhook_secrets),
        links=ApprovalLinks(approval_secrets, settings.public_url),
        sign_in=SignIn(admins=settings.admins(), secrets=approval_secrets, clock=clock, secure=settings.production),
        public_url=settings.public_url,
        read_order=lambda stored: codec.read(stored, PlacedOrder),
    )
    chassis.health.add("postgres", database.check_writable)
    chassis.health.add("schema", lambda: engine.operations.open_promises(ADMIN_APPROVAL, limit=1))
    return relay, engine


def _clients(chassis: Chassis, settings: OrchestratorSettings, clock: Clock, http: httpx.AsyncClient) -> Clients:
    """What the steps call out with; the processor is not ours and gets no service token."""
    return Clients(
        session=SessionClient(
            ServiceClient(
                service="session", base_url=settings.session_url, http=http, clock=clock, tokens=chassis.tokens
            )
        ),
        shipping=ShippingClient(
            ServiceClient(
                service="shipping", base_url=settings.shipping_url, http=http, clock=clock, tokens=chassis.tokens
            )
        ),
        payment=PaymentClient(
            ServiceClient(service="payment", base_url=settings.payment_url, http=http, clock=clock, tokens=None),
            webhook_url=f"{settings.orchestrator_url}/webhooks/payments",
        ),
        notifier=_notifier(settings),
        terms=OrderTerms(
            payment_timeout=timedelta(seconds=settings.payment_timeout_s),
            approval_timeout=timedelta(seconds=settings.approval_timeout_s),
            approval_reminder=timedelta(seconds=settings.approval_reminder_s),
            delivery_window=timedelta(seconds=settings.delivery_window_s),
        ),
    )


def _notifier(settings: OrchestratorSettings) -> Notifier:
    log = LogNotifier(get_logger(NAME), settings.public_url)
    if settings.smtp_url is None:
        return log
    server = MailServer.read(settings.smtp_url.get_secret_value())
    return MailNotifier(server, settings.mail_from, settings.mail_to, settings.public_url, log)


def _announce(settings: OrchestratorSettings) -> None:
    """Say who may sign in where nobody has been named; never in production."""
    if settings.uses_development_admin:
        user, password = DEVELOPMENT_ADMIN
        get_logger(NAME).warning("sign_in.development_admin", user=user, sign_in_with=password)
