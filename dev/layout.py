"""Where a development stack lives: its processes, ports, addresses and files.

`STACK_PORT_BASE` (8000) and `STACK_DATA` (.data) put a second stack beside the first one.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
ROOT = Path(__file__).parent.parent
HIGHEST_BASE = 65_000


class LayoutError(Exception):
    """A setting of the stack is unusable; the message names it."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process of the stack."""

    name: str
    module: str
    port: int
    ready_path: str
    database: bool = False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def database_variable(self) -> str:
        return f"{self.name.upper()}_DATABASE_URL"


@dataclass(frozen=True, slots=True)
class Layout:
    """The five processes of a stack and the directory that it keeps its data in."""

    data: Path
    parts: tuple[Part, ...]

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ) -> "Layout":
        text = env.get("STACK_PORT_BASE") or "8000"
        if not text.isascii() or not text.isdigit() or not 1_024 <= int(text) <= HIGHEST_BASE:
            raise LayoutError(f"STACK_PORT_BASE is {text!r}: give a port from 1024 to {HIGHEST_BASE}")
        data = Path(env.get("STACK_DATA") or ROOT / ".data").absolute()
        return cls.at(int(text), data)

    @classmethod
    def at(cls, base: int, data: Path) -> "Layout":
        parts = (
            Part("payment", "simulators.payment", base + 11, "/healthz"),
            Part("carrier", "simulators.carrier", base + 12, "/healthz"),
            Part("session", "services.session", base + 1, "/readyz", database=True),
            Part("shipping", "services.shipping", base + 2, "/readyz", database=True),
            Part("orchestrator", "services.orchestrator", base, "/readyz", database=True),
        )
        return cls(data=data, parts=parts)

    def part(self, name: str) -> Part:
        return next(part for part in self.parts if part.name == name)

    @property
    def databases(self) -> tuple[Part, ...]:
        return tuple(part for part in self.parts if part.database)

    @property
    def run(self) -> Path:
        """Pid files, logs and the description of the running stack."""
        return self.data / "run"

    def log(self, name: str) -> Path:
        return self.run / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        return self.run / f"{name}.pid"

    def addresses(self) -> dict[str, str]:
        """Return the settings by which the parts find each other; what the environment says already stands."""
        urls = {f"{part.name.upper()}_URL": part.url for part in self.parts}
        orchestrator = self.part("orchestrator").url
        return urls | {"PUBLIC_URL": orchestrator, "PAYMENT_WEBHOOK_URL": f"{orchestrator}/webhooks/payments"}
