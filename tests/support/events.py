"""Listening to the engine's named events: what is heard, what dies there, and where a connection breaks."""

import asyncio
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from services.chassis.hooks import ChassisHooks
from services.orchestrator.engine import EngineHooks
from tests.support.clock import ManualClock

OnEvent = Callable[[str, tuple[object, ...]], None]
H = TypeVar("H", EngineHooks, ChassisHooks)


class Crash(BaseException):
    """The replica is dead; nothing of it goes on."""


def crash(event: str) -> None:
    """Die here."""
    raise Crash(event)


def leave_the_dead_unsaid(loop: asyncio.AbstractEventLoop) -> None:
    """Let a loop say nothing of the tasks that a death has ended, and that nobody asks for any more.

    Long after, when they are collected, and with a traceback each: it takes seconds of whichever test runs then.
    """

    def heard(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not isinstance(context.get("exception"), Crash):
            loop.default_exception_handler(context)

    loop.set_exception_handler(heard)


def connection_breaker(clock: ManualClock) -> Callable[[str], None]:
    """Lose the connection: before a flush it is not written, after it its answer is lost. The pause after it passes."""

    def break_connection(event: str) -> None:
        asyncio.get_running_loop().call_soon(clock.advance, 1)
        raise ConnectionError(f"the connection broke at {event}")

    return break_connection


@dataclass
class AtPoint:
    """Listens to the engine and does something at one point: the event number `point`, from 0, of those that count."""

    point: int
    do: Callable[[str], None] = crash
    counts: Callable[[str], bool] = lambda _event: True
    heard: int = 0

    def __call__(self, event: str, _facts: tuple[object, ...]) -> None:
        """Hear of an event."""
        if self.counts(event):
            self.heard += 1
            if self.heard == self.point + 1:
                self.do(event)

    @property
    def reached(self) -> bool:
        """Whether the run had so many events."""
        return self.heard > self.point


def listening(on_event: OnEvent) -> EngineHooks:
    """Hooks whose every method reports its own name and arguments to `on_event`."""
    return _reporting(EngineHooks, on_event)


def listening_below(on_event: OnEvent) -> ChassisHooks:
    """Hooks of the chassis that report likewise."""
    return _reporting(ChassisHooks, on_event)


def _reporting(hooks: type[H], on_event: OnEvent) -> H:
    def reporting(name: str) -> Callable[..., None]:
        def report(_hooks: object, *facts: object, **named: object) -> None:
            on_event(name, (*facts, *named.values()))

        return report

    events = [name for name, _ in inspect.getmembers(hooks, callable) if not name.startswith("_")]
    made = type(f"Listening{hooks.__name__}", (hooks,), {name: reporting(name) for name in events})()
    assert isinstance(made, hooks)
    return made
