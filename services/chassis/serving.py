"""A service's process: its settings, its server, and its signals."""

import asyncio
import importlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
from fastapi import FastAPI
from uvicorn.lifespan.on import LifespanOn, LifespanSendMessage

from services.chassis import garbage, logs
from services.chassis.errors import OrderSagaError, SettingsError
from services.chassis.health import Health
from services.chassis.inbound.protocol import bounded
from services.chassis.settings import ChassisSettings


class _Lifespan(LifespanOn):
    """The life of the app: a start may be abandoned, and says in one line what an operator can mend about it."""

    _loop: asyncio.AbstractEventLoop | None = None
    _life: asyncio.Task[None] | None = None

    async def main(self) -> None:
        self._loop, self._life = asyncio.get_running_loop(), asyncio.current_task()
        await super().main()

    def abandon(self) -> None:
        """Break off the start, from a signal's handler; what has started is past that."""
        if self._loop is not None and self._life is not None and not self.startup_event.is_set():
            self._loop.call_soon_threadsafe(self._life.cancel)

    async def send(self, message: LifespanSendMessage) -> None:
        """Put our words in the place of the traceback that Starlette sends for a start that has failed."""
        why = sys.exception()
        if message["type"] == "lifespan.startup.failed" and isinstance(why, (OrderSagaError, asyncio.CancelledError)):
            log = logs.get_logger("chassis.serving")
            if isinstance(why, OrderSagaError):
                log.error("service.start_failed", reason=why.message)
            else:
                log.warning("service.start_abandoned")
            message = {"type": "lifespan.startup.failed", "message": ""}
        await super().send(message)


class _Server(uvicorn.Server):
    """Says "not ready" from the moment it is told to stop, and ends with 0 once it has stopped."""

    def __init__(self, config: uvicorn.Config, health: Health) -> None:
        super().__init__(config)
        self._health = health

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self.should_exit:
            return  # told so before it began
        try:
            await super().startup(sockets)
        except SystemExit:
            if not self.should_exit:
                raise
        garbage.freeze()

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        self._health.drain()
        if not self.started and isinstance(lifespan := getattr(self, "lifespan", None), _Lifespan):
            lifespan.abandon()
        if self.should_exit and sig == signal.SIGINT:
            self.force_exit = True  # a second Ctrl-C does not wait
        self.should_exit = True


def serve(name: str, settings: ChassisSettings) -> None:
    """Run the service until SIGTERM or SIGINT; then be unready, finish the requests, stop the loops and end."""
    logs.configure(service=name, level=settings.log_level, format=settings.log_format)
    app: FastAPI = importlib.import_module(f"services.{name}.app").create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        loop="uvloop",
        http=bounded(head_timeout_s=settings.head_timeout_s, connections_max=settings.connections_max),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, round(settings.shutdown_grace_s)),
    )
    config.load()
    config.lifespan_class = _Lifespan
    server = _Server(config, app.state.chassis.health)
    server.run()
    if not server.started and not server.should_exit:
        sys.exit(3)


def run(name: str, load: Callable[[], ChassisSettings]) -> None:
    """Load the settings and serve; what is wrong with them is told without a traceback."""
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        sys.exit(2)
    serve(name, settings)
