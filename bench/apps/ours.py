"""Our worker: the engine with the workflows of the workloads, and an HTTP front, in one process.

`--variant chassis` puts everything before the routes that our services have: strict JSON, body limit, request ids,
access log, metrics, tokens. Without it the front is a bare FastAPI, as the peers' fronts are.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import orjson
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import Response

from bench.apps import workflows
from bench.apps.options import Options
from bench.steplog import StepLog
from services.chassis import garbage, logs
from services.chassis.app import build_app
from services.chassis.auth import authenticated
from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.http import ServiceClient, outbound_http
from services.chassis.ids import derived_uuid
from services.chassis.settings import ChassisSettings
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, EngineSettings, Operations, Registry, StartRequest

HELD_OPEN_S = 60.0
POOL = 5


def operations(request: Request) -> Operations:
    found: Operations = request.app.state.engine.operations
    return found


def answer(value: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def order_of(request: Request) -> str:
    order_id: str = request.path_params["order_id"]
    return order_id


def saga_of(order_id: str) -> str:
    return str(derived_uuid("saga", workflows.order.name, order_id))


async def health(_: Request) -> Response:
    return answer({"status": "ok"})


async def start(request: Request) -> Response:
    order_id = order_of(request)
    await operations(request).start(StartRequest(workflows.order.name, order_id, order_id))
    return answer({"order": order_id}, 202)


async def settle(request: Request) -> Response:
    signal = request.path_params["signal"]
    await operations(request).resolve_promise(saga_of(order_of(request)), signal, {"by": signal}, by="driver")
    return answer({"ok": True}, 202)


async def result(request: Request) -> Response:
    """Hold the request open until the order has ended."""
    order_id = order_of(request)
    while True:
        end = await operations(request).result(saga_of(order_id), wait_s=HELD_OPEN_S)
        if end.has_ended:
            status = "compensated" if end.status == "failed" else end.status
            return answer({"order": order_id, "status": status, "output": end.output})


async def w1(request: Request) -> Response:
    """Start ten-step workflows here, at most `concurrency` unfinished; every result is checked."""
    running, asked = operations(request), request.query_params
    numbers = iter(range(int(asked["count"])))

    async def lane() -> None:
        for number in numbers:
            started = await running.start(StartRequest(workflows.ten_steps.name, f"{asked['tag']}-{number}", 0))
            end = await running.result(started.saga_id, wait_s=HELD_OPEN_S)
            if end.output != sum(range(workflows.STEPS)):
                raise AssertionError(f"workflow {number} is {end.status}, with {end.output}")

    clock: Clock = request.app.state.clock
    began = clock.monotonic()
    await asyncio.gather(*(lane() for _ in range(int(asked["concurrency"]))))
    return answer({"seconds": clock.monotonic() - began})


async def park(request: Request) -> Response:
    """Start orders here and pay them, without a request each; they then wait for the approval."""
    running, asked = operations(request), request.query_params
    count, tag = int(asked["count"]), asked["tag"]
    numbers = iter(range(count))

    async def lane() -> None:
        for number in numbers:
            started = await running.start(StartRequest(workflows.order.name, f"{tag}{number}", f"{tag}{number}"))
            await running.resolve_promise(started.saga_id, "payment", {"by": "payment"}, by="driver")

    await asyncio.gather(*(lane() for _ in range(2 * POOL)))
    return answer({"parked": count})


ROUTES = (
    ("POST", "/orders/{order_id}/{signal}", settle),
    ("POST", "/orders/{order_id}", start),
    ("GET", "/orders/{order_id}/result", result),
    ("GET", "/health", health),
    ("POST", "/w1", w1),
    ("POST", "/park", park),
)


def create_app(options: Options) -> FastAPI:
    """Return the worker's app; its engine and its requests have a pool of connections each."""
    settings = ChassisSettings(log_level="warning", log_format="json", shipping_url=options.shipping)
    clock = Clock()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            own = Database(options.store, application_name="bench engine", pool_size=POOL)
            requests = Database(options.store, application_name="bench requests", pool_size=POOL)
            stack.push_async_callback(own.close)
            stack.push_async_callback(requests.close)
            http = await stack.enter_async_context(outbound_http(settings))
            await own.check_durability()
            await own.calibrate(clock)
            engine = Engine(
                registry=Registry([workflows.ten_steps, workflows.order]),
                codec=PydanticCodec(),
                clients=workflows.Clients(
                    log=StepLog(options.steplog),
                    shipping=ServiceClient(
                        service="shipping", base_url=options.shipping, http=http, clock=clock, tokens=None
                    ),
                ),
                database=own,
                operations_database=requests,
                clock=clock,
                settings=EngineSettings(replica=f"worker-{options.port}"),
            )
            app.state.engine, app.state.clock = engine, clock
            await engine.start()
            stack.push_async_callback(engine.stop)
            garbage.spare_what_stays()
            yield

    if options.variant == "chassis":
        guarded = APIRouter(dependencies=[Depends(authenticated("service"))])
        for method, path, endpoint in ROUTES:
            guarded.add_api_route(path, endpoint, methods=[method])
        return build_app(
            name="bench", settings=settings, routers=[guarded], lifespan=lifespan, description="", clock=clock
        )
    app = FastAPI(lifespan=lifespan, openapi_url=None, telemetry={"tracing": False, "metrics": False, "logs": False})
    for method, path, endpoint in ROUTES:
        app.add_route(path, endpoint, methods=[method])  # nothing to read but the path: no dependencies to solve
    return app


def main() -> None:
    options = Options.read()
    logs.configure(service="bench", level="warning", format="json")
    uvicorn.run(
        create_app(options),
        port=options.port,
        log_level="warning",
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=3600,
        loop="uvloop",
        http="httptools",
    )
