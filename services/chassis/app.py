"""The FastAPI application of a service: its own routes, and around them what all services have in common."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any, Final

import httpx
import structlog
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from structlog.typing import FilteringBoundLogger

from services.chassis import errors, logs, metrics
from services.chassis.clock import Clock
from services.chassis.health import Health
from services.chassis.hooks import ChassisHooks
from services.chassis.inbound import docs, idempotency, problems, routes
from services.chassis.inbound.auth import Authenticator
from services.chassis.inbound.gate import Gate
from services.chassis.inbound.ingress import Ingress
from services.chassis.inbound.limits import Limits
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import outbound_http
from services.chassis.security.fingerprints import Fingerprints
from services.chassis.security.jwks import KeySet
from services.chassis.security.tokens import ServiceTokens
from services.chassis.settings import ChassisSettings

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
VERSION: Final = "1.0.0"
_JSON: Final = "application/json"
_ALIVE: Final = {"status": "ok"}
_COME_BACK: Final = {"Retry-After": "1"}


@dataclass(frozen=True, slots=True)
class Chassis:
    """What a service's parts share; `app.state.chassis`."""

    name: str
    settings: ChassisSettings
    clock: Clock
    log: FilteringBoundLogger
    metrics: Metrics
    health: Health
    authenticator: Authenticator
    tokens: ServiceTokens
    limits: Limits
    fingerprints: Fingerprints


def build_app(
    *,
    name: str,
    settings: ChassisSettings,
    routers: Sequence[APIRouter],
    lifespan: Lifespan,
    description: str,
    clock: Clock | None = None,
    hooks: ChassisHooks | None = None,
) -> FastAPI:
    """Return the application of the service `name`; `lifespan` wires what is its own."""
    keys_http = outbound_http(settings) if settings.auth_jwks_url else None
    chassis = _chassis(name, settings, clock or Clock(), keys_http)
    app = FastAPI(
        title=f"Order Saga: {name}",
        description=description,
        version=VERSION,
        lifespan=_whole_life(chassis, lifespan, keys_http),
        openapi_url="/openapi.json" if settings.docs_enabled else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.chassis = chassis
    app.add_exception_handler(errors.RequestError, problems.on_request_error)
    app.add_exception_handler(HTTPException, problems.on_http_error)
    app.add_exception_handler(RequestValidationError, problems.on_invalid_request)
    app.add_middleware(
        Ingress,
        service=name,
        metrics=chassis.metrics,
        clock=chassis.clock,
        gate=Gate(chassis.limits, hosts=settings.hosts, secure=settings.production),
        max_body_bytes=settings.max_body_bytes,
        body_timeout_s=settings.body_timeout_s,
        request_timeout_s=settings.request_timeout_s,
        hooks=hooks or ChassisHooks(),
    )
    for router in [*routers, _probes(chassis)]:
        # The routes themselves: FastAPI's `include_router` would build them again, with the first request.
        app.router.routes.extend(routes.strict(router.routes))
    if settings.docs_enabled:
        docs.add_docs(app)
        _complete_openapi(app)
    app.router.routes.extend(routes.heads_of(app.router.routes))
    return app


def _whole_life(chassis: Chassis, lifespan: Lifespan, keys_http: httpx.AsyncClient | None) -> Lifespan:
    """Return the lifespan of the service, wrapped in what every service does before and after it."""

    @asynccontextmanager
    async def whole_life(app: FastAPI) -> AsyncIterator[None]:
        settings = chassis.settings
        if not structlog.is_configured():
            logs.configure(service=chassis.name, level=settings.log_level, format=settings.log_format)
        try:
            async with lifespan(app):
                chassis.log.info("service.ready", version=app.version)
                try:
                    yield
                finally:
                    chassis.health.drain()
                    chassis.log.info("service.stopping")
        finally:
            if keys_http is not None:
                await keys_http.aclose()

    return whole_life


def _chassis(name: str, settings: ChassisSettings, clock: Clock, keys_http: httpx.AsyncClient | None) -> Chassis:
    service_secret = settings.service_token_secret.get_secret_value()
    key_set = None
    if keys_http is not None and settings.auth_jwks_url is not None:
        key_set = KeySet(settings.auth_jwks_url, http=keys_http, clock=clock)
    return Chassis(
        name=name,
        settings=settings,
        clock=clock,
        log=logs.get_logger(name),
        metrics=Metrics(),
        health=Health(),
        authenticator=Authenticator(
            name=name,
            clock=clock,
            user_secret=settings.user_secret,
            service_secret=service_secret,
            key_set=key_set,
        ),
        tokens=ServiceTokens(secret=service_secret, issuer=name, clock=clock),
        fingerprints=Fingerprints([key.get_secret_value() for key in settings.encryption_keys]),
        limits=Limits(
            clock=clock,
            address_per_s=settings.address_requests_per_s,
            user_per_s=settings.user_requests_per_s,
            in_progress_max=settings.requests_in_progress_max,
            proxies=[ip_network(network) for network in settings.trusted_proxies],
            keys=idempotency.key_budgets(settings.user_keys_max, clock),
        ),
    )


def _probes(chassis: Chassis) -> APIRouter:
    """Return the routes that machines poll: liveness, readiness and metrics."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process lives", responses={200: {"content": {_JSON: {"example": _ALIVE}}}})
    async def healthz() -> dict[str, str]:
        return _ALIVE

    @router.get(
        "/readyz",
        summary="Ready for requests: 503 if a check fails",
        response_class=JSONResponse,
        responses={
            200: {"content": {_JSON: {"example": {"status": "ok", "checks": {"postgres": "ok"}}}}},
            503: {
                "description": "A check has failed, or the service is stopping",
                "content": {_JSON: {"example": {"status": "unready", "checks": {"postgres": "timeout"}}}},
            },
        },
    )
    async def readyz() -> Response:
        readiness = await chassis.health.readiness()
        status = "ok" if readiness.ready else "unready"
        return JSONResponse(
            {"status": status, "checks": dict(readiness.checks)},
            status_code=200 if readiness.ready else 503,
            headers={} if readiness.ready else _COME_BACK,
        )

    @router.get(
        "/metrics",
        summary="Prometheus metrics",
        response_class=Response,
        responses={200: {"content": {metrics.CONTENT_TYPE.partition(";")[0]: {}}}},
    )
    async def prometheus() -> Response:
        return Response(chassis.metrics.render(), headers={"Content-Type": metrics.CONTENT_TYPE})

    return router


def _complete_openapi(app: FastAPI) -> None:
    """Have `docs.describe` complete the OpenAPI document that FastAPI generates."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = docs.describe(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document
