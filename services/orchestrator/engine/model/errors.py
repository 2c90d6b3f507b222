"""The engine's exceptions.

::

    OrderSagaError
    ├── TerminalError             ends the saga and unwinds it; an author may raise it
    │   ├── StepFailed            a step was refused, or its attempts are used up
    │   ├── ChildFailed           a called saga has failed or was cancelled
    │   ├── SignalTimeout         nobody settled the signal in time
    │   └── SignalRejected        somebody rejected the signal
    └── EngineError               what a caller of the operations did wrong, or came too late for
        ├── UnknownWorkflow  UnknownVersion  UnknownSaga  UnknownSignal
        ├── SagaConflict  CannotCancel  CannotOperate  UnreadableSaga
        ├── InvalidValue  PayloadError  WideSearch
        ├── StepBarred                                   a step must not be called again: the saga becomes stuck
        │   └── KeyExpired  ArgumentsChanged
        └── Divergence  ForeignAwait  UndeclaredName     faults of workflow code: the saga becomes stuck
    BaseException
    ├── LeaseLost                 this replica no longer owns the saga: it stops at once
    ├── Overtaken                 the saga's code was handed a signal that could not be written
    └── BranchClosed              the code's branch has lost a select, or the saga left memory
"""

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from services.chassis.errors import OrderSagaError


class TerminalError(OrderSagaError):
    """The saga cannot be completed."""

    code = "terminal"

    def __init__(self, code: str, message: str = "") -> None:
        """Take a stable `code` for machines and a `message` for people."""
        super().__init__(message or code)
        self.code = code  # type: ignore[misc]  # each failure carries its own code


class StepFailed(TerminalError):
    """A step was refused, or its attempts are used up."""

    code = "step-failed"


class ChildFailed(TerminalError):
    """A called saga has not completed."""

    code = "child-failed"

    def __init__(self, code: str, message: str, *, saga_id: str, outcome: str) -> None:
        """Take its error, its id, and how it has ended: `failed` or `cancelled`."""
        super().__init__(code, message)
        self.saga_id = saga_id
        self.outcome = outcome


class SignalTimeout(TerminalError):
    """Nobody settled the signal in time."""

    code = "signal-timeout"

    def __init__(self, name: str) -> None:
        """Take the name of the signal that was waited for."""
        super().__init__("signal-timeout", f"nobody settled {name!r} in time; the wait is closed for good")


class SignalRejected(TerminalError):
    """Somebody rejected the signal."""

    code = "signal-rejected"


class EngineError(OrderSagaError):
    """The engine refuses what was asked."""

    code = "engine-error"


class UnknownWorkflow(EngineError):
    """No workflow of this name is registered."""

    code = "workflow-unknown"


class UnknownVersion(EngineError):
    """This replica does not have the version of the workflow that the saga runs on: one that has it can answer."""

    code = "version-unknown"

    def __init__(self, workflow: str, version: int) -> None:
        """Take the workflow and the version that are missing."""
        super().__init__(
            f"This replica does not have version {version} of {workflow!r}; ask again, for one that has it."
        )


class UnknownSaga(EngineError):
    """No saga has this id."""

    code = "saga-unknown"


class UnknownSignal(EngineError):
    """No such signal: the id is unknown, or the workflow declares no promise of this name."""

    code = "signal-unknown"


class SagaConflict(EngineError):
    """A saga with this workflow and key exists and was started with another input."""

    code = "saga-conflict"


class CannotCancel(EngineError):
    """The saga cannot be cancelled any more."""

    code = "cannot-cancel"
    reasons: ClassVar[dict[str, str]] = {
        "final": "the saga has ended as {status}; what has ended cannot be cancelled",
        "no-return": "the saga is past its point of no return and will complete; wait for its end",
        "unwinding": "the saga has failed and is being unwound already; wait for its end",
    }

    def __init__(self, reason: str, status: str) -> None:
        """Take the `reason` (`final`, `no-return`, `unwinding`) and the saga's status word."""
        super().__init__(self.reasons[reason].format(status=status))
        self.reason = reason
        self.status = status


class CannotOperate(EngineError):
    """The saga's present state does not allow this operation."""

    code = "state-conflict"


class UnreadableSaga(EngineError):
    """This release cannot read the saga."""

    code = "saga-unreadable"

    def __init__(self, saga_id: UUID, what: Sequence[str]) -> None:
        """Take the saga, and what of it cannot be read: columns, or other words."""
        super().__init__(
            f"this release cannot read the {', '.join(what)} of saga {saga_id}: another has written that, or somebody "
            "by hand; nothing was changed: ask a replica of the release that wrote it, mend it by hand, or cancel the "
            "saga if that may be, which needs none of it"
        )


class InvalidValue(EngineError):
    """The value does not have the declared shape."""

    code = "invalid-value"


class PayloadError(EngineError):
    """A value cannot be written as a payload."""

    code = "payload"


class WideSearch(EngineError):
    """What is looked for is rare, and too many sagas would have to be read to find it; narrow the search."""

    code = "wide-search"


class Divergence(EngineError):
    """The code asks for something else than what the log holds at this position."""

    code = "divergence"

    def __init__(self, position: str, expected: str, found: str) -> None:
        """Take the position, what the log holds there and what the code asked for."""
        super().__init__(
            f"at position {position} the log holds {expected}, but the code asks for {found}; "
            "deploy the code this saga was started with, or register the changed code under a new version"
        )
        self.position = position
        self.expected = expected
        self.found = found


class StepBarred(EngineError):
    """A step must not be called again."""

    code = "step-barred"

    def __init__(self, position: str, message: str) -> None:
        """Take where the step stands, and why it must not be called."""
        super().__init__(message)
        self.position = position


class KeyExpired(StepBarred):
    """A step was first called longer ago than its receiver remembers keys: another call could take effect twice."""

    code = "key-expired"

    def __init__(self, step: str, position: str, since: datetime, told: str = "") -> None:
        """Take the step, where it stands, when it was first called, and what a read-back has told, if one was made."""
        read_back = f"; reading it back could not tell ({told})" if told else ""
        super().__init__(
            position,
            f"step {step!r} was first called at {since.isoformat()}; its receiver may have forgotten the key, so "
            f"another call could take effect twice{read_back}: look there, then skip the step with the output it "
            "should have",
        )


class ArgumentsChanged(StepBarred):
    """After a restart a step is asked for with other arguments than those that its undo was registered with."""

    code = "arguments-changed"

    def __init__(self, step: str, position: str, undo: str) -> None:
        """Take the step, where it stands, and its undo."""
        super().__init__(
            position,
            f"step {step!r} was called before the restart with other arguments, or another undo, than now; its undo "
            f"{undo!r} is owed for those, and would not undo this call: cancel the saga, or look at the receiver and "
            "skip the step with the output it should have",
        )


class ForeignAwait(EngineError):
    """Workflow code awaited something that is not a primitive of its context."""

    code = "foreign-await"

    def __init__(self, what: object) -> None:
        """Take what was awaited."""
        super().__init__(
            f"workflow code awaited {type(what).__name__}; it may await only primitives of its context "
            "(ctx.run, ctx.sleep, …): put I/O into a step and call it with ctx.run"
        )


class UndeclaredName(EngineError):
    """Workflow code used an undo, a promise or an awakeable type that its definition does not declare."""

    code = "undeclared-name"


class LeaseLost(BaseException):
    """Another replica, a cancel or an operator owns this saga now: this run stops and writes nothing more."""


class Overtaken(BaseException):
    """A signal that the saga's code has gone on with could not be written: what the code did since is void."""


class BranchClosed(BaseException):
    """This branch of the workflow is closed; let this exception pass, nothing can be recorded any more."""


def leave_frames(error: BaseException) -> None:
    """Take the tracebacks off an error that is kept, and off what has led to it.

    Since Python 3.12 the frames in them hold on to their callers, whose variables hold the error: only the garbage
    collector would free all of it, and the saga with it.
    """
    chain = [error]
    for link in chain:
        link.__traceback__ = None
        before = (link.__cause__, link.__context__)
        chain += [one for one in before if one is not None and all(one is not known for known in chain)]
