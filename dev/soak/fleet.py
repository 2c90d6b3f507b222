"""The processes of a soak: one Postgres, replicas of every service, the simulators, and the proxy between them all."""

import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import httpx

from dev import postgres, terminal
from dev.child import Child
from dev.layout import HOST, Layout, Part
from dev.ports import in_use
from dev.soak.proxy import Line, Proxy
from migrations.runner import SERVICES, upgrade

REPLICAS: Mapping[str, int] = {"orchestrator": 3, "session": 2, "shipping": 2}
FIRST_PORT = {"orchestrator": 20, "session": 30, "shipping": 40}
SIMULATORS = {"payment": 11, "carrier": 12}
DATABASE_LINE, LINES, FRONTS = 50, 51, 60
WIDTH = 100
"""How many ports from its base a soak may use."""
NAMED = "orchestrator-1"
"""The one replica whose name outlives its process."""
IDLE = 300
OTHERS = 140
UNEXPECTED = ('"event": "service.ready"', "Traceback")
"""What a log says of a process that must not end by itself: it was at work, or it did not understand its end."""


@dataclass(frozen=True, slots=True)
class Death:
    """A process ended or froze, and when, on this machine's clock."""

    replica: str
    at: float
    how: str
    until: float = 0.0


@dataclass
class Fleet:
    """What runs, and what has happened to it."""

    layout: Layout
    server: postgres.Server
    proxy: Proxy
    children: dict[str, Child]
    urls: dict[str, list[str]]
    """Where clients reach each replica of a service, through the proxy."""
    settings: Mapping[str, str]
    deaths: list[Death] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)
    """Processes that ended by themselves while they were at work."""
    outages: list[tuple[float, float]] = field(default_factory=list)
    restarting: asyncio.Lock = field(default_factory=asyncio.Lock)

    def replicas(self, *services: str) -> list[str]:
        return [name for name in self.children if name.rpartition("-")[0] in (services or tuple(REPLICAS))]

    def pid(self, name: str) -> int:
        return int(self.layout.pid_file(name).read_text())

    def signal(self, name: str, number: signal.Signals) -> bool:
        try:
            os.kill(self.pid(name), number)
        except (ProcessLookupError, FileNotFoundError):
            return False
        return True

    def kill(self, name: str) -> None:
        """SIGKILL; its supervisor starts it again a second later."""
        if self.signal(name, signal.SIGKILL):
            self.deaths.append(Death(name, time.time(), "killed"))

    async def freeze(self, name: str, seconds: float) -> None:
        """SIGSTOP, and SIGCONT after some seconds."""
        pid = self.pid(name)
        if not self.signal(name, signal.SIGSTOP):
            return
        began = time.time()
        self.deaths.append(Death(name, began, "frozen", began + seconds))
        try:
            await asyncio.sleep(seconds)
        finally:
            if self.pid(name) == pid:
                self.signal(name, signal.SIGCONT)

    async def restart_postgres(self, pause_s: float) -> None:
        """Stop the server without its shutting down anything, and start it again after a pause."""
        began = time.time()
        await asyncio.to_thread(self.server.crash)
        await asyncio.sleep(pause_s)
        await asyncio.to_thread(postgres.start, self.server.data, port=self.server.port, settings=self.settings)
        self.outages.append((began, time.time()))

    async def admin(self, database: str = "postgres") -> "asyncpg.Connection[asyncpg.Record]":
        """Connect past the proxy."""
        return await asyncpg.connect(self.server.url(database), timeout=5)

    async def rss_kb(self) -> dict[str, int]:
        return {name: _rss_kb(self.pid(name)) for name in self.children}

    async def stop(self) -> None:
        for name in self.children:
            self.signal(name, signal.SIGCONT)
        services = [child for name, child in self.children.items() if name not in SIMULATORS]
        await asyncio.gather(*(child.stop() for child in services))
        simulators = [child for name, child in self.children.items() if name in SIMULATORS]
        await asyncio.gather(*(child.stop() for child in simulators))
        await self.proxy.stop()
        await asyncio.to_thread(self.server.stop)


def free_base(start: int) -> int:
    base = start
    while any(in_use(base + offset) for offset in range(WIDTH)):
        base += WIDTH
    return base


async def launch(data: Path, base: int, dice: random.Random, settings: Mapping[str, str]) -> Fleet:
    """Start everything on an empty directory; `settings` are further settings of the services."""
    layout = Layout(data, tuple(_parts(base)))
    await asyncio.to_thread(layout.run.mkdir, parents=True, exist_ok=True)
    server_settings = {"max_connections": str(IDLE + OTHERS), "superuser_reserved_connections": "10"}
    server = await asyncio.to_thread(postgres.start, data / "postgres", settings=server_settings)
    proxy = Proxy(_lines(base, server.port), dice)
    urls = {
        service: [f"http://{HOST}:{proxy.lines[f'front {service}-{n + 1}'].port}" for n in range(REPLICAS[service])]
        for service in ("orchestrator", "session")
    }
    urls |= {name: [layout.part(name).url] for name in SIMULATORS}
    fleet = Fleet(layout, server, proxy, {}, urls, server_settings)
    try:
        await _prepare(server, layout)
        await proxy.start()
        await _start_children(fleet, base, dice, settings)
    except BaseException:
        await fleet.stop()
        raise
    return fleet


def _parts(base: int) -> list[Part]:
    found = [Part(name, f"simulators.{name}", base + offset, "/healthz") for name, offset in SIMULATORS.items()]
    for service, count in REPLICAS.items():
        first = base + FIRST_PORT[service]
        found += [
            Part(f"{service}-{n + 1}", f"services.{service}", first + n, "/readyz", database=True) for n in range(count)
        ]
    return found


def _lines(base: int, postgres_port: int) -> list[Line]:
    """The way to Postgres, the ways between the parts, and one front for each replica that clients talk to."""
    lines = [Line("postgres", base + DATABASE_LINE, [postgres_port], postgres=True)]
    for index, service in enumerate((*REPLICAS, *SIMULATORS, "webhooks")):
        of = "orchestrator" if service == "webhooks" else service
        if of in SIMULATORS:
            targets = [base + SIMULATORS[of]]
        else:
            targets = [base + FIRST_PORT[of] + n for n in range(REPLICAS[of])]
        lines.append(Line(service, base + LINES + index, targets))
    fronts = [(service, n) for service in ("orchestrator", "session") for n in range(REPLICAS[service])]
    for index, (service, n) in enumerate(fronts):
        lines.append(Line(f"front {service}-{n + 1}", base + FRONTS + index, [base + FIRST_PORT[service] + n]))
    return lines


async def _prepare(server: postgres.Server, layout: Layout) -> None:
    """Make the databases, their schemas, and a role for every replica, so that the server knows who writes."""
    await postgres.ensure_databases(server, list(SERVICES))
    for service in SERVICES:
        await upgrade(service, server.url(service))
    connection = await asyncpg.connect(server.url())
    try:
        for part in layout.databases:
            role = part.name.replace("-", "_")
            await connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{server.password}' IN ROLE {postgres.USER}")
    finally:
        await connection.close()


async def _start_children(fleet: Fleet, base: int, dice: random.Random, settings: Mapping[str, str]) -> None:
    layout = fleet.layout
    urls = {f"{name.upper()}_URL": f"http://{HOST}:{fleet.proxy.lines[name].port}" for name in (*REPLICAS, *SIMULATORS)}
    common = dict(os.environ) | urls | {"LOG_FORMAT": "json", "HOST": HOST, "PYTHONUNBUFFERED": "1"} | dict(settings)
    common["PUBLIC_URL"] = common["ORCHESTRATOR_URL"]
    common["PAYMENT_WEBHOOK_URL"] = f"http://{HOST}:{fleet.proxy.lines['webhooks'].port}/webhooks/payments"
    skews = _skews(dice)
    for part in layout.parts:
        own = {"PORT": str(part.port)}
        if part.database:
            service, _, _ = part.name.rpartition("-")
            role = part.name.replace("-", "_")
            port = base + DATABASE_LINE
            address = f"postgresql://{role}:{fleet.server.password}@{HOST}:{port}/{service}"
            own |= {f"{service.upper()}_DATABASE_URL": address, "CLOCK_SKEW_S": str(skews[part.name])}
            if part.name == NAMED:
                own["REPLICA"] = part.name
        else:
            own["SIMULATOR_DATA"] = str(layout.data / part.name)
        fleet.children[part.name] = Child(layout, part, common | own, _reporter(fleet, part.name))
    for child in fleet.children.values():
        await child.start()
    async with httpx.AsyncClient(trust_env=False) as http:
        await asyncio.gather(*(child.ready(http) for child in fleet.children.values()))


def _skews(dice: random.Random) -> dict[str, int]:
    """Wrong clocks: of every service one an hour ahead and one an hour behind, give or take."""
    names = [f"{service}-{n + 1}" for service, count in REPLICAS.items() for n in range(count)]
    return {name: dice.choice((-1, 1)) * dice.randint(600, 3_600) for name in names}


def _reporter(fleet: Fleet, name: str) -> Callable[[str, str], None]:
    """Note what a supervisor says; an end that nobody here has caused is a surprise."""
    log = fleet.layout.log(name)
    seen = 0

    def report(kind: str, text: str) -> None:
        nonlocal seen
        lived = log.read_bytes()[seen:].decode(errors="replace")
        if kind == "fail" and "SIGKILL" not in text and any(sign in lived for sign in UNEXPECTED):
            fleet.surprises.append(f"{text}\n{lived[-1_500:]}")
            terminal.fail(text)
        if kind == "done":
            seen = log.stat().st_size

    return report


def _rss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


def data_folder(given: str | None, layout: Layout) -> Path:
    """Return a folder of its own under the development data."""
    return Path(given) if given else layout.data / f"soak-{time.strftime('%H%M%S')}-{secrets.token_hex(2)}"
