"""The outside world of the engine's tests: a ledger of calls and effects, and the faults scripted for them.

A target honours keys: what it was asked twice under one key it does once, and gives the first answer again, a
refusal too. What arrived is in `calls`, what took effect is in `effects`; both only grow.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.chassis.clock import Clock
from services.orchestrator.engine import Found, RetryPolicy, Step, TerminalError

ONCE = RetryPolicy(max_attempts=1)
THRICE = RetryPolicy(max_attempts=3, initial_s=1.0, factor=2.0, max_s=10.0, jitter=0.0)
STEADY = RetryPolicy(initial_s=1.0, factor=1.0, max_s=1.0, jitter=0.0)
HOUR_S = 3600.0
HOUR = timedelta(seconds=HOUR_S)


@dataclass(frozen=True, slots=True)
class Call:
    """One arrival at a target: what was asked, under which key, by whom and when."""

    name: str
    saga_id: str
    key: str
    attempt: int
    replica: str
    at: datetime
    args: tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Effect:
    """Something that has taken place; never undone, only followed by its undo."""

    name: str
    saga_id: str
    key: str
    args: tuple[object, ...]


class Gate:
    """Holds a call until the test opens it."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.abandoned = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let the call go on."""
        self._opened.set()

    async def pass_through(self) -> None:
        """Say that a call has arrived and wait until it may go on."""
        self.reached.set()
        try:
            await self._opened.wait()
        except asyncio.CancelledError:
            self.abandoned.set()
            raise


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one call: a gate, then whether it takes effect, then an error or the death of the caller."""

    error: Callable[[], Exception] | None = None
    applied: bool = False
    gate: Gate | None = None
    kills: bool = False
    then: Callable[["Clients", Step["Clients"]], Awaitable[None]] | None = None
    final: bool = False


def refused(code: str = "refused") -> Fault:
    """A definite refusal: nothing was done and a retry is pointless."""
    return Fault(error=lambda: TerminalError(code, f"the target says {code}"), final=True)


def unreachable() -> Fault:
    """No answer and, though the caller cannot know, no effect."""
    return Fault(error=lambda: ConnectionError("the target is unreachable"))


def answer_lost() -> Fault:
    """The effect takes place, the answer does not arrive."""
    return Fault(error=lambda: ConnectionError("the answer was lost"), applied=True)


def held(gate: Gate) -> Fault:
    """The call waits at the gate and then succeeds."""
    return Fault(applied=True, gate=gate)


def dies(*, applied: bool = True) -> Fault:
    """The calling replica dies during the call, after or before the effect."""
    return Fault(applied=applied, kills=True)


def meanwhile(then: Callable[["Clients", Step["Clients"]], Awaitable[None]]) -> Fault:
    """The call succeeds, and something else happens before its answer."""
    return Fault(applied=True, then=then)


@dataclass
class World:
    """Everything outside of the engine, shared by all replicas; survives every crash."""

    clock: Clock
    calls: list[Call] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _answers: dict[tuple[str, str], str] = field(default_factory=dict)
    _refusals: dict[tuple[str, str], Fault] = field(default_factory=dict)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)
    _scripts: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))

    def script(self, name: str, *faults: Fault) -> None:
        """Let the next calls of this name meet these faults, in turn; later ones succeed."""
        self._scripts[name].extend(faults)

    async def until_called(self, name: str, times: int = 1) -> None:
        """Wait until so many calls of this name have arrived."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.called(name)) >= times)

    def called(self, name: str, saga_id: str | None = None) -> list[Call]:
        """The arrivals of this name, oldest first."""
        return [call for call in self.calls if call.name == name and saga_id in {None, call.saga_id}]

    def calls_of(self, saga_id: str) -> list[Call]:
        """All arrivals from one saga, oldest first."""
        return [call for call in self.calls if call.saga_id == saga_id]

    def happened(self, saga_id: str | None = None) -> list[str]:
        """The names of what took effect, oldest first."""
        return [effect.name for effect in self.effects if saga_id in {None, effect.saga_id}]

    def forget_keys(self) -> None:
        """Let every target forget the keys that it knows: what is asked for under one of them is done again."""
        self._answers.clear()
        self._refusals.clear()

    def forget_scripts(self) -> None:
        """Let no call meet a fault that was scripted before."""
        self._scripts.clear()

    async def look(self, clients: "Clients", step: Step["Clients"], name: str) -> str | None:
        """One look for what took effect under a step's key: the answer of then, or None. It arrives as `read a`."""
        await self._arrive(clients, step, f"read {name}")
        done = [place for place, effect in enumerate(self.effects, 1) if (effect.name, effect.key) == (name, step.key)]
        return f"{name}#{done[0]}" if done else None

    async def _arrive(self, clients: "Clients", step: Step["Clients"], name: str) -> None:
        """One call that changes nothing; its fault says whether it is answered."""
        self.calls.append(Call(name, step.saga_id, step.key, step.attempt, clients.replica, self.clock.now(), ()))
        async with self._arrival:
            self._arrival.notify_all()
        fault = self._scripts[name].popleft() if self._scripts[name] else Fault()
        if fault.gate is not None:
            await fault.gate.pass_through()
        if fault.then is not None:
            await fault.then(clients, step)
        if fault.kills:
            await clients.die()
        if fault.error is not None:
            raise fault.error()

    async def ask(self, clients: "Clients", step: Step["Clients"], name: str, args: tuple[object, ...]) -> str:
        """One call of a step: its fault, if one is scripted, decides how it ends."""
        self.calls.append(Call(name, step.saga_id, step.key, step.attempt, clients.replica, self.clock.now(), args))
        async with self._arrival:
            self._arrival.notify_all()
        script = self._scripts[name]
        fault = self._refusals.get((name, step.key)) or (script.popleft() if script else Fault(applied=True))
        if fault.final:
            self._refusals[(name, step.key)] = fault
        if fault.gate is not None:
            await fault.gate.pass_through()
        if fault.applied:
            self._apply(step, name, args)
        if fault.then is not None:
            await fault.then(clients, step)
        if fault.kills:
            await clients.die()
        if fault.error is not None:
            raise fault.error()
        return self._answers[(name, step.key)]

    def _apply(self, step: Step["Clients"], name: str, args: tuple[object, ...]) -> None:
        if (name, step.key) not in self._answers:
            self.effects.append(Effect(name, step.saga_id, step.key, args))
            self._answers[(name, step.key)] = f"{name}#{len(self.effects)}"


@dataclass(frozen=True, slots=True)
class Clients:
    """What a replica injects into its steps: the world, and the replica's own name and death."""

    world: World
    replica: str
    die: Callable[[], Awaitable[None]]


async def act(step: Step[Clients], name: str) -> str:
    """Do something outside; the answer tells which effect it was."""
    return await step.clients.world.ask(step.clients, step, name, ())


async def act_on(step: Step[Clients], name: str, value: str) -> str:
    """Do something outside with a value from an earlier step."""
    return await step.clients.world.ask(step.clients, step, name, (value,))


async def undo(step: Step[Clients], result: str | None, name: str) -> None:
    """Undo `act`."""
    await step.clients.world.ask(step.clients, step, f"undo {name}", (result,))


async def undo_on(step: Step[Clients], result: str | None, name: str, value: str) -> None:
    """Undo `act_on`."""
    await step.clients.world.ask(step.clients, step, f"undo {name}", (result, value))


async def look(step: Step[Clients], name: str) -> Found[str] | None:
    """Read back what became of `act`."""
    answer = await step.clients.world.look(step.clients, step, name)
    return None if answer is None else Found(answer)


async def put_back(step: Step[Clients], name: str) -> None:
    """An undo that belongs to no step."""
    await step.clients.world.ask(step.clients, step, f"undo {name}", ())
