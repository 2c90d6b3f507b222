"""One life of the orchestrator's process, in process: its engine, its relay and its clients, and how it dies.

Whatever a life has not committed when it dies never will be: from then on each of its hooks raises `Crash` and each of
its calls hangs, until its tasks are dropped. The connections are kept for the next life; what the old one had open on
them is rolled back.
"""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import orjson
from pydantic import BaseModel

from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.hooks import ChassisHooks
from services.chassis.messaging.relay import Relay
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import Answer, ServiceClient
from services.chassis.postgres.database import Database
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.clients import Clients, OrderTerms, PaymentClient, SessionClient, ShippingClient
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, EngineHooks, EngineSettings, Registry
from services.orchestrator.workflows import REGISTRY
from simulators.problems import Problem
from tests.support.clock import ManualClock
from tests.support.events import Crash, OnEvent, listening
from tests.support.rows import DELETE_ALL
from tests.support.sweep_world import ATTEMPT, Asked, Outside

LEASE_S = 5.0
RELAY_LEASE_S = 10.0
BEATS_DURING = ("POST", "/payments")
"""The call during which the heart beats, once."""
TERMS = OrderTerms(
    payment_timeout=timedelta(minutes=15),
    approval_timeout=timedelta(days=3),
    approval_reminder=timedelta(days=1),
    delivery_window=timedelta(seconds=5),
)
NOTED = """
SELECT exists (SELECT FROM steps WHERE saga_id = $1 AND position = $2)
    OR exists (SELECT FROM compensations WHERE saga_id = $1 AND position = $2 AND status <> 'owed') AS outcome,
       exists (SELECT FROM sagas WHERE id = $1 AND strpos(calls, '"' || $2 || '"') > 0)
    OR exists (SELECT FROM compensations WHERE saga_id = $1 AND position = $2 AND attempts > 0) AS intent
"""
"""What the database has of an attempt while its call is under way: the intent, and not yet the outcome."""


def names_of(hooks: type) -> list[str]:
    """The events of a class of hooks."""
    return [name for name, _ in inspect.getmembers(hooks, callable) if not name.startswith("_")]


def chassis_listening(on_event: OnEvent) -> ChassisHooks:
    """Chassis hooks whose every method reports its own name and arguments to `on_event`."""

    def reporting(name: str) -> Callable[..., None]:
        return lambda _hooks, *facts: on_event(name, facts)

    hooks = type("Listening", (ChassisHooks,), {name: reporting(name) for name in names_of(ChassisHooks)})()
    assert isinstance(hooks, ChassisHooks)
    return hooks


@dataclass
class Ground:
    """What outlives a process: the world, the clock, the database and the connections to it, a look into it."""

    outside: Outside
    clock: ManualClock
    database: Database
    look: asyncpg.Connection
    metrics: Metrics = field(default_factory=Metrics)
    calls_after_record: list[str] = field(default_factory=list)
    calls_without_intent: list[str] = field(default_factory=list)
    looking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def clear(self) -> None:
        """Forget every order that has not ended as it should, so that the next one is alone."""
        await self.look.execute(DELETE_ALL)

    async def look_at(self, attempt: tuple[str, str], asked: Asked) -> None:
        """Note a call whose intent is not durable, or whose outcome is so already."""
        async with self.looking:
            (noted,) = await self.look.fetch(NOTED, *attempt)
        what = f"{asked[0]} {asked[1]} at {attempt[1]}"
        if noted["outcome"]:
            self.calls_after_record.append(what)
        elif not noted["intent"]:
            self.calls_without_intent.append(what)


class Process:
    """One life; `heard` is told every event first, and may raise `Crash` or `ConnectionError`."""

    def __init__(self, ground: Ground, heard: OnEvent) -> None:
        self.ground = ground
        self.died = asyncio.Event()
        self.unreachable = False
        self.gave_back = False
        self.stopping = asyncio.Event()
        self.stops_during: tuple[str, str] | None = None
        self._heard = heard
        self.engine = Engine(
            registry=Registry(REGISTRY),
            codec=PydanticCodec(),
            clients=self._clients(),
            database=ground.database,
            clock=ground.clock,
            settings=EngineSettings(lease_s=LEASE_S),
            hooks=self._engine_hooks(),
        )
        self.relay = Relay(
            database=ground.database,
            clock=ground.clock,
            addresses={"session": Wire("session", self)},
            metrics=ground.metrics,
            hooks=chassis_listening(self.hear),
            lease_s=RELAY_LEASE_S,
        )

    def hear(self, event: str, facts: tuple[object, ...] = ()) -> None:
        """Hear of an event of this life; dead, it goes no further."""
        if self.died.is_set():
            raise Crash(event)
        try:
            self._heard(event, facts)
        except Crash:
            self.died.set()
            raise

    async def work(self) -> None:
        """Do everything that is due, unless it dies on the way."""
        await self._until_dead(self.engine.run_until_idle())

    async def deliver(self) -> None:
        """Send what is in the outbox, unless it dies on the way."""
        await self._until_dead(self.relay.run_until_idle())

    async def bury(self) -> None:
        """Drop everything that it was about to do."""
        self.died.set()
        await self.engine.crash()
        relay = self.relay
        tasks = [*relay._deliveries, *([relay._marking] if relay._marking is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def call(self, asked: Asked, key: str | None) -> Any:
        """Carry a call to the world and its answer back, if both live."""
        await self._hang_if_dead()
        attempt = ATTEMPT.get()
        if attempt is not None:
            await self.ground.look_at(attempt, asked)
        if asked[:2] == self.stops_during:
            self.stopping.set()
            await asyncio.Event().wait()
        outside = self.ground.outside
        if self.unreachable:
            self.unreachable = False
            outside.unheard(asked, key)
            raise ConnectionError("nobody was reached")
        try:
            if asked[:2] == BEATS_DURING:
                await self.engine._heartbeat.run_once()
                await self._hang_if_dead()
            try:
                answer = outside.answer(asked, key)
            finally:
                self.hear("call_sent", asked[:2])
        except Crash:
            await self._hang_if_dead()
            raise
        return answer

    async def _hang_if_dead(self) -> None:
        if self.died.is_set():
            await asyncio.Event().wait()

    async def _until_dead(self, work: Any) -> None:
        task = asyncio.create_task(work)
        ends = [asyncio.create_task(event.wait()) for event in (self.died, self.stopping)]
        try:
            await asyncio.wait({task, *ends}, return_when=asyncio.FIRST_COMPLETED)
            if not self.died.is_set() and not self.stopping.is_set():
                await task
        finally:
            for one in (task, *ends):
                one.cancel()
            await asyncio.gather(task, *ends, return_exceptions=True)
        if self.stopping.is_set():
            with suppress(Crash, ConnectionError):
                await self.engine.stop(grace_s=0.0)
                self.gave_back = not self.died.is_set()
            self.died.set()

    def _engine_hooks(self) -> EngineHooks:
        def hear(event: str, facts: tuple[object, ...]) -> None:
            if event == "call_before":
                saga, position, *_ = facts
                ATTEMPT.set((str(saga.id), str(position)))  # type: ignore[attr-defined]
            self.hear(event, facts)

        return listening(hear)

    def _clients(self) -> Clients:
        return Clients(
            session=SessionClient(Wire("session", self)),
            shipping=ShippingClient(Wire("shipping", self)),
            payment=PaymentClient(Wire("payment", self), webhook_url="http://orchestrator/webhooks/payments"),
            notifier=Bell(self),
            terms=TERMS,
        )


class Wire(ServiceClient):
    """A client whose calls arrive in this process, without HTTP: what an answer means is told as HTTP's would be."""

    def __init__(self, service: str, process: Process) -> None:
        self.service = service
        self._process = process

    async def request(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | Mapping[str, Any] | str | None = None,
        key: str | None = None,
        params: Mapping[str, Any] | None = None,
        **_rest: Any,
    ) -> Answer:
        try:
            answer = await self._process.call((method, path, {**_fields(body), **(params or {})}), key)
        except Problem as problem:
            if problem.status >= 500:
                raise RemoteUnknown(problem.code, service=self.service, status=problem.status) from problem
            raise RemoteRefused(problem.code, problem.detail, service=self.service, status=problem.status) from problem
        except ConnectionError as error:
            raise RemoteUnknown(str(error), service=self.service) from error
        return Answer(200, answer, {})


class Bell:
    """A notifier that is heard in this process."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def approval_waiting(self, placed: PlacedOrder, *, saga_id: str, reminder: int) -> None:
        await self._process.call(("POST", f"/notices/{placed.order_id}", {}), None)


def _fields(body: BaseModel | Mapping[str, Any] | str | None) -> dict[str, Any]:
    if body is None:
        return {}
    if isinstance(body, BaseModel):
        return body.model_dump(mode="json")
    if isinstance(body, str):
        fields: dict[str, Any] = orjson.loads(body)
        return fields
    return dict(body)
