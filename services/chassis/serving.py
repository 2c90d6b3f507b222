"""A service's process: its settings, its server, and its signals."""

import importlib
import signal
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Final

import uvicorn
from fastapi import FastAPI

from services.chassis import garbage, logs
from services.chassis.errors import SettingsError
from services.chassis.health import Health
from services.chassis.protocol import bounded
from services.chassis.settings import ChassisSettings

PORTS: Final = {"orchestrator": 8000, "session": 8001, "shipping": 8002}


class _Server(uvicorn.Server):
    """Says "not ready" from the moment it is told to stop, and ends with 0 once it has stopped."""

    def __init__(self, config: uvicorn.Config, health: Health) -> None:
        super().__init__(config)
        self._health = health

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        garbage.spare_what_stays()

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        self._health.drain()
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
        port=settings.port or PORTS.get(name, 8000),
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
    server = _Server(config, app.state.chassis.health)
    server.run()
    if not server.started:
        sys.exit(3)


def run(name: str, load: Callable[[], ChassisSettings]) -> None:
    """Load the settings and serve; what is wrong with them is told without a traceback."""
    try:
        settings = load()
    except SettingsError as error:
        sys.stderr.write(f"{name}: {error.message}\n")
        sys.exit(2)
    serve(name, settings)
