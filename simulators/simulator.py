"""What both simulators have in common: their parts, their control routes, and how they become an app."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI
from fastapi.responses import Response

from simulators import problems
from simulators.calls import Calls
from simulators.clock import Clock, SystemClock
from simulators.faults import FaultPlan, Script
from simulators.later import Later
from simulators.settings import Settings
from simulators.storage import open_storage
from simulators.wire import Wire


class Simulator:
    """A part of the outside world: what it did, what it will do later, what goes wrong with it."""

    name = "simulator"
    schema = ""

    def __init__(self, settings: Settings, *, clock: Clock | None, in_process: bool) -> None:
        """Open the storage; nothing runs before the first call or `start`."""
        self.settings = settings
        self.clock: Clock = clock or SystemClock()
        self.in_process = in_process
        self.hang_s = settings.hang_s
        self.storage: sqlite3.Connection = open_storage(settings.data, self.name, self.schema)
        self.calls = Calls(self.storage, self.clock)
        self.faults = FaultPlan()
        self.later = Later(self.clock)

    def subject_of(self, path: str, fields: dict[str, Any]) -> str | None:  # noqa: ARG002 - the processor needs it
        """Return the order that a call is about, by its fields."""
        subject = fields.get("order_id", fields.get("reference"))
        return subject if isinstance(subject, str) else None

    async def start(self) -> None:
        """Take up what a former process has left undone."""

    async def settle_all(self) -> None:
        """Do now everything that would happen later."""
        await self.later.settle()

    async def close(self) -> None:
        """Stop the work in the background and close the storage."""
        await self.later.close()
        self.storage.close()


def build_app(simulator: Simulator, *, title: str, routers: list[APIRouter]) -> FastAPI:
    """Make the HTTP face of `simulator`; it works with and without its lifespan being run."""

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await simulator.start()
        yield
        await simulator.close()

    app = FastAPI(title=title, description=simulator.__doc__ or "", lifespan=lifespan)
    app.state.simulator = simulator
    problems.install(app)
    app.add_middleware(Wire, simulator=simulator)
    for router in [_control(simulator), *routers]:
        # Its routes as they are: FastAPI would make those of a router that is included anew, with the first request.
        app.router.routes.extend(router.routes)
    return app


def _control(simulator: Simulator) -> APIRouter:
    router = APIRouter()

    @router.get("/healthz", tags=["health"])
    async def alive() -> dict[str, str]:
        """Tell that the process lives."""
        return {"status": "ok"}

    @router.get("/_control/calls", tags=["control"])
    async def calls(
        path: str | None = None, subject: str | None = None, method: str | None = None
    ) -> dict[str, object]:
        """Return every call received so far, in order."""
        return {"calls": simulator.calls.view(path=path, subject=subject, method=method)}

    @router.get("/_control/faults", tags=["control"])
    async def faults() -> dict[str, object]:
        """Return the scripted faults and how often each has hit."""
        return {"faults": simulator.faults.view()}

    @router.post("/_control/faults", tags=["control"], status_code=201)
    async def script(wanted: Script) -> dict[str, object]:
        """Script further faults."""
        simulator.faults.add(wanted)
        return {"faults": simulator.faults.view()}

    @router.delete("/_control/faults", tags=["control"], status_code=204)
    async def clear() -> Response:
        """Forget every fault."""
        simulator.faults.clear()
        return Response(status_code=204)

    return router


def serve(create: Callable[[Settings], FastAPI], *, port: int) -> None:
    """Run a simulator as a process until SIGINT or SIGTERM."""
    settings = Settings.read(os.environ, port=port)
    config = uvicorn.Config(
        create(settings),
        host=settings.host,
        port=settings.port,
        log_level=os.environ.get("LOG_LEVEL", "info").lower(),
        access_log=False,
        timeout_graceful_shutdown=2,
    )
    asyncio.run(uvicorn.Server(config).serve())
