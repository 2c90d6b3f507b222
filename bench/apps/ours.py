"""Our worker: the engine with the workflows of the workloads, and the HTTP front, in one process."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from bench.apps import workflows
from bench.apps.front import Front, serve
from bench.apps.options import Options
from bench.steplog import StepLog
from services.chassis import garbage, loading, logs
from services.chassis.clock import Clock
from services.chassis.ids import derived_uuid
from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.postgres.database import Database
from services.chassis.settings import ChassisSettings
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, EngineSettings, Operations, Registry, StartRequest

HELD_OPEN_S = 60.0
POOL = 5


class Orders:
    """Orders and ten-step workflows by the engine's operations."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    async def start(self, order: str) -> None:
        await self._operations.start(StartRequest(workflows.order.name, order, order))

    async def settle(self, order: str, signal: str) -> None:
        await self._operations.resolve_promise(saga_of(order), signal, {"by": signal}, by="driver")

    async def result(self, order: str) -> Any:
        while True:
            end = await self._operations.result(saga_of(order), wait_s=HELD_OPEN_S)
            if end.has_ended:
                status = "compensated" if end.status == "failed" else end.status
                return {"order": order, "status": status, "output": end.output}

    async def ten_steps(self, name: str) -> Any:
        started = await self._operations.start(StartRequest(workflows.ten_steps.name, name, 0))
        return (await self._operations.result(started.saga_id, wait_s=HELD_OPEN_S)).output


def saga_of(order: str) -> str:
    return str(derived_uuid("saga", workflows.order.name, order))


def settings_of(options: Options) -> ChassisSettings:
    return ChassisSettings(log_level="warning", log_format="json", shipping_url=options.shipping)


@asynccontextmanager
async def running(options: Options, clock: Clock) -> AsyncIterator[Orders]:
    """Run the engine; it and the requests have a pool of connections each."""
    async with AsyncExitStack() as stack:
        own = Database(options.store, application_name="bench engine", pool_size=POOL)
        requests = Database(options.store, application_name="bench requests", pool_size=POOL)
        stack.push_async_callback(own.close)
        stack.push_async_callback(requests.close)
        http = await stack.enter_async_context(outbound_http(settings_of(options)))
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
        await engine.start()
        stack.push_async_callback(engine.stop)
        garbage.freeze()
        yield Orders(engine.operations)


def main() -> None:
    options = Options.read()
    logs.configure(service="bench", level="warning", format="json")
    if options.variant == "chassis":
        loading.put_off_openapi()
        from bench.apps.ours_chassis import create_app  # noqa: PLC0415 - only who is measured behind FastAPI loads it

        serve(create_app(options), options.port)
    else:
        serve(Front(partial(running, options, Clock())), options.port)
