"""The interface between the context, which authors use, and the journal, which answers and records."""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.model.records import Kind, SignalKind
from services.orchestrator.engine.model.retry import RetryPolicy


class StateRecorder(Protocol):
    """Keeps the state of a saga: each write takes a position, what is read is what the code has written before."""

    def read(self, name: str, shape: Any, default: Any) -> Any:
        """Return what stands under a name where the code is, `default` if nothing does."""
        ...

    def write(self, name: str, value: Any, shape: Any) -> None:
        """Set a value once."""
        ...

    def clear(self, name: str | None) -> None:
        """Clear the value of a name, or of all names, once."""
        ...

    def names(self) -> tuple[str, ...]:
        """Return the names under which a value stands where the code is, sorted."""
        ...


class Recorder(Protocol):
    """Gives each primitive its position, answers it from the log, or records it; the journal fulfils this."""

    @property
    def state(self) -> StateRecorder:
        """Return what keeps the saga's state."""
        ...

    def next_position(self) -> str:
        """Return the next position of the branch that is running."""
        ...

    def recorded(self, position: str, kind: Kind, name: str) -> str | None:
        """Return the output recorded at a position, None if there is none."""
        ...

    def run_step(
        self,
        name: str,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        undo: Callable[..., Awaitable[None]] | None,
        retry: RetryPolicy,
        timeout_s: float,
        reconcile: Callable[..., Awaitable[Any]] | None,
    ) -> Coroutine[Any, Any, Any]:
        """Return a step's recorded result, or ask for its call."""
        ...

    def run_transaction(
        self,
        name: str,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        undo: Callable[..., Awaitable[None]] | None,
        retry: RetryPolicy,
        timeout_s: float,
    ) -> Coroutine[Any, Any, Any]:
        """Return a transaction's recorded result, or ask for it to be run."""
        ...

    def add_undo(self, fn: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        """Register an undo of its own."""
        ...

    def sleep(self, duration: timedelta | None, moment: datetime | None) -> Awaitable[None]:
        """Fix when to wake, once, and wait for it."""
        ...

    def open_awakeable(self, shape: Any, expects: Mapping[str, Any] | None) -> str:
        """Open an awakeable once and give its id."""
        ...

    def promise_shape(self, name: str) -> Any:
        """Return a declared promise's type."""
        ...

    def wait_signal(self, name: str, kind: SignalKind, shape: Any, timeout: timedelta | None) -> Awaitable[Any]:
        """Wait for a signal; the deadline is fixed once."""
        ...

    def peek(self, name: str, shape: Any) -> Any:
        """Look at a signal once and record what was seen."""
        ...

    def start(self, definition: WorkflowDefinition, key: str, value: Any, subject: str | None, delay_s: float) -> str:
        """Start a saga once and give its id."""
        ...

    def call(
        self,
        definition: WorkflowDefinition,
        key: str,
        value: Any,
        subject: str | None,
        timeout: timedelta | None,
        undo: Callable[..., Awaitable[None]] | None,
    ) -> Awaitable[Any]:
        """Call a saga once and wait for its end; the deadline is fixed once."""
        ...

    def send(self, message: Message) -> None:
        """Put a message into the outbox once."""
        ...

    def no_return(self) -> None:
        """Pass the point of no return once."""
        ...

    def set_status(self, text: str) -> None:
        """Set the progress text once."""
        ...

    def patched(self, name: str) -> bool:
        """Say whether a version marker stands here, or record one where nothing is recorded behind."""
        ...

    def deprecate_patch(self, name: str) -> None:
        """Pass a version marker that may stand here."""
        ...

    def value(self, name: str, fn: Callable[[Any], Any] | None) -> Any:
        """Return a recorded value, or take it now: from `fn`, or by name (`now`, `uuid`, `random`)."""
        ...
