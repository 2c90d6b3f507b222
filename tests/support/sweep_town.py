"""The whole product in one process, whose services die at the moments between their writes and are started again.

A service that dies answers nobody: who has called it hears that the connection broke. What it had called goes on, as
another process does. Its users, the processor and the other services' relays ask again until they are answered.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from fastapi import FastAPI

from services.chassis.messaging.relay import Relay
from services.orchestrator.app import create_app as create_orchestrator
from services.orchestrator.settings import OrchestratorSettings
from services.session.app import create_app as create_session
from services.session.settings import SessionSettings
from services.shipping.app import create_app as create_shipping
from services.shipping.settings import ShippingSettings
from simulators import carrier, payment
from tests.support.clock import ManualClock
from tests.support.events import Crash, listening
from tests.support.inprocess import URLS, ImpatientClock, Switchboard
from tests.support.sweep_points import DIES, Heard, Strike, kinds_at
from tests.support.sweep_process import chassis_listening
from tests.support.system import System

TRIES_MAX = 20
LONGEST_LEASE_S = 30.0
"""Longer than any lease of any service."""
READS = frozenset({"GET", "HEAD"})


@dataclass
class Service:
    """One service: its app, whether its process lives, and what it is answering."""

    name: str
    app: FastAPI
    died: asyncio.Event = field(default_factory=asyncio.Event)
    answering: set["asyncio.Task[Any]"] = field(default_factory=set)
    at: str = "by itself"
    _life: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def start(self) -> None:
        await self._life.enter_async_context(self.app.router.lifespan_context(self.app))
        self.died.clear()

    async def bury(self) -> None:
        """Let what it was about to do run into its death, and close its connections."""
        self.died.set()
        while tasks := self._unfinished():
            await asyncio.wait(tasks)
        if self.name == "orchestrator":
            await self.app.state.engine.crash()
        await self._life.aclose()
        self._life = AsyncExitStack()

    def _unfinished(self) -> set["asyncio.Task[Any]"]:
        if self.name == "shipping":
            return set(self.answering)
        relay: Relay = self.app.state.relay
        return self.answering | relay._deliveries | ({relay._marking} if relay._marking else set())


@dataclass
class Events:
    """Hears the moments of all services, names their points, and strikes."""

    strikes: Sequence[Strike] = ()
    on: bool = False
    decided_at: int = 0
    heard: list[Heard] = field(default_factory=list)
    struck: list[tuple[Heard, str]] = field(default_factory=list)

    def refuse_the_dead(self, service: Service, event: str) -> None:
        if service.died.is_set():
            raise Crash(event)

    def hear(self, service: Service, event: str, facts: tuple[object, ...]) -> None:
        self.refuse_the_dead(service, event)
        if event == "request_received":
            method, path = (str(fact) for fact in facts)
            service.at = f"{method} /{path.split('/')[1]}" if method not in READS else ""
        if not self.on or not service.at:
            return
        number = len(self.heard)
        about = f" {facts[0]}" if event == "message_sent" else ""
        self.heard.append(Heard(event, f"{service.name}: {event}{about} at {service.at}"))
        for strike in self.strikes:
            passed = sum(heard.point == strike.point for heard in self.heard)
            if strike.point == self.heard[number].point and strike.at == passed - 1:
                kind = strike.choose(kinds_at(event))
                self.struck.append((self.heard[number], kind))
                if kind != DIES:
                    raise ConnectionError(f"{kind} at {event}")
                service.died.set()
                raise Crash(event)


class Streets(Switchboard):
    """Calls between processes: a caller that dies does not stop who it has called, one that was called breaks off."""

    def __init__(self) -> None:
        super().__init__()
        self.services: dict[str, Service] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        service = self.services.get(request.url.host)
        if service is None:
            return await super().handle_async_request(request)
        if service.died.is_set():
            raise httpx.ConnectError("nobody listens")
        task = asyncio.create_task(super().handle_async_request(request))
        service.answering.add(task)
        task.add_done_callback(service.answering.discard)
        death = asyncio.create_task(service.died.wait())
        try:
            await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            death.cancel()
        if service.died.is_set():
            await asyncio.gather(task, return_exceptions=True) if task.done() else None
            raise httpx.ReadError("the connection broke")
        return task.result()


@dataclass
class Town(System):
    """The product, its mortal services and its stubborn users."""

    events: Events = field(default_factory=Events)
    services: dict[str, Service] = field(default_factory=dict)

    async def settle(self) -> None:
        """Let everything happen that is due; services that die on the way are started again."""
        while True:
            before = self.switchboard.calls
            for number in range(len(self._duties())):
                await self._do(self._duties()[number])
            if self.switchboard.calls == before:
                return

    async def call(self, method: str, service: str, path: str, **rest: Any) -> httpx.Response:
        """Ask until there is an answer that says what is the case."""
        for _ in range(TRIES_MAX):
            try:
                answer = await super().call(method, service, path, **rest)
            except httpx.TransportError:
                await self._revive()
                continue
            if answer.status_code < 500 and "Retry-After" not in answer.headers:
                return answer
            self.clock.advance(1)
        raise AssertionError(f"{method} {path} is not answered")

    def _duties(self) -> list[Callable[[], Awaitable[object]]]:
        apps = self.apps
        return [
            apps["session"].state.relay.run_until_idle,
            apps["orchestrator"].state.engine.run_until_idle,
            apps["orchestrator"].state.relay.run_until_idle,
            apps["payment"].state.simulator.settle_all,
            apps["carrier"].state.simulator.settle_all,
        ]

    def _dead(self) -> list[Service]:
        return [service for service in self.services.values() if service.died.is_set()]

    async def _do(self, work: Callable[[], Awaitable[object]]) -> None:
        task = asyncio.ensure_future(work())
        await asyncio.wait({task})  # a dead service's runs into its death; cancelling it would lose connections
        if not self._dead() and task.exception() is not None:
            raise AssertionError("a duty failed") from task.exception()
        await self._revive()

    async def _revive(self) -> None:
        """Start again what has died, once every lease that it held has ended."""
        for service in self._dead():
            await service.bury()
            self.clock.advance(LONGEST_LEASE_S)
            await service.start()


@asynccontextmanager
async def town(urls: Mapping[str, str]) -> AsyncIterator[Town]:
    """Run everything on the databases at `urls` (by service); pauses move the clock on."""
    clock = ManualClock(flowing=True)
    impatient = ImpatientClock(clock)
    streets, events = Streets(), Events()
    every: dict[str, Any] = {f"{name}_url": url for name, url in URLS.items()} | {"public_url": URLS["orchestrator"]}

    def hooks_of(name: str) -> Any:
        return chassis_listening(lambda event, facts: events.hear(streets.services[name], event, facts))

    async with httpx.AsyncClient(transport=streets) as http, AsyncExitStack() as stack:
        for simulator in (
            payment.create_app(clock=impatient, http=http, delay_s=0, in_process=True),
            carrier.create_app(clock=impatient, in_process=True),
        ):
            streets.apps[simulator.state.simulator.name] = simulator
            await stack.enter_async_context(simulator.router.lifespan_context(simulator))
        common: dict[str, Any] = {"clock": clock, "http": http, "background": False}
        streets.apps |= {
            "session": create_session(
                SessionSettings(database_url=urls["session"], seed_catalog=False, **every),
                hooks=hooks_of("session"),
                **common,
            ),
            "shipping": create_shipping(
                ShippingSettings(database_url=urls["shipping"], **every), hooks=hooks_of("shipping"), **common
            ),
            "orchestrator": create_orchestrator(
                OrchestratorSettings(database_url=urls["orchestrator"], **every),
                hooks=hooks_of("orchestrator"),
                engine_hooks=listening(
                    lambda event, _facts: events.refuse_the_dead(streets.services["orchestrator"], event)
                ),
                **common,
            ),
        }
        for name in ("session", "shipping", "orchestrator"):
            service = streets.services[name] = Service(name, streets.apps[name])
            await service.start()
            stack.push_async_callback(service.bury)
        yield Town(clock, streets, http, events=events, services=streets.services)
