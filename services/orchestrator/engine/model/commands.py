"""The commands that workflow code yields to the executor when it awaits a primitive.

The executor resumes the code with the answer. Nothing here touches asyncio: workflow code is driven step by step, so
that its order depends on the log alone.
"""

from collections.abc import Awaitable, Callable, Coroutine, Generator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from services.orchestrator.engine.model.records import STEP, Kind
from services.orchestrator.engine.model.retry import RetryPolicy


@dataclass(frozen=True, slots=True)
class Command:
    """Something that workflow code waits for; awaiting it hands it to the executor."""

    position: str

    def __await__(self) -> Generator["Command", Any, Any]:
        """Hand this command to the executor and give what it answers."""
        return (yield self)


@dataclass(slots=True)
class RunStep:
    """Call a step, attempt after attempt, until it is recorded; not frozen, as one is made for every step.

    `reconcile` reads back at the target what became of it, where its outcome is unknown.
    """

    position: str
    name: str
    fn: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    result_shape: Any
    retry: RetryPolicy
    timeout_s: float
    undo_name: str | None
    undo_args: str | None
    reconcile: Callable[..., Awaitable[Any]] | None = None
    kind: ClassVar[Kind] = STEP

    def __await__(self) -> Generator["RunStep", Any, Any]:
        """Hand this command to the executor and give what it answers."""
        return (yield self)


@dataclass(slots=True)
class RunTransaction(RunStep):
    """Run a step on our own database, attempt after attempt, until it is committed with its record."""

    kind: ClassVar[Kind] = Kind.TRANSACTION


@dataclass(frozen=True, slots=True)
class WaitSignal(Command):
    """Wait until a signal is settled, or `until` has passed, which closes it."""

    signal: str
    kind: str
    shape: Any
    since: datetime
    until: datetime | None


@dataclass(frozen=True, slots=True)
class WaitChild(WaitSignal):
    """Wait until a called saga has ended; `label` is what people see of it."""

    label: str


@dataclass(frozen=True, slots=True)
class WaitTimer(Command):
    """Wait until the database's clock has reached `due_at`."""

    since: datetime
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Gather(Command):
    """Run branches side by side until all have settled."""

    branches: tuple[Coroutine[Any, Any, Any], ...]


@dataclass(frozen=True, slots=True)
class Map(Command):
    """Run a branch for each item, at most `limit` side by side, until all have settled or one has failed."""

    fn: Callable[[Any], Awaitable[Any]]
    items: tuple[Any, ...]
    limit: int


@dataclass(frozen=True, slots=True)
class Select(Command):
    """Run branches side by side until the first has finished; `winner` is known on replay."""

    branches: tuple[Coroutine[Any, Any, Any], ...]
    winner: int | None = None
