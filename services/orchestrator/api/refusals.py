"""What the engine refuses, as HTTP knows it: one class per reason, each with its stable code.

RequestError
├── NotFound
│   ├── WorkflowUnknown
│   ├── SagaUnknown
│   └── SignalUnknown
├── Conflict
│   ├── SagaExists
│   ├── SagaFinal
│   ├── SagaCancelled
│   ├── SagaPastNoReturn
│   ├── SagaUnwinding
│   ├── StateConflict
│   ├── SignalConflict
│   ├── SignalMismatch
│   └── SignalLate
├── Invalid
│   └── InvalidPayload
└── Unavailable
    └── VersionElsewhere
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from services.chassis.errors import Conflict, Invalid, NotFound, RequestError, Unavailable
from services.contracts.orchestrator import SAGA_CANCELLED
from services.orchestrator.engine import (
    CannotCancel,
    CannotOperate,
    EngineError,
    InvalidValue,
    PayloadError,
    SagaConflict,
    UnknownSaga,
    UnknownSignal,
    UnknownVersion,
    UnknownWorkflow,
)


class WorkflowUnknown(NotFound):
    """No workflow of this name is registered."""

    code: ClassVar[str] = "workflow-unknown"


class SagaUnknown(NotFound):
    """No saga has this id."""

    code: ClassVar[str] = "saga-unknown"


class SignalUnknown(NotFound):
    """No such awakeable, or the workflow declares no promise of this name."""

    code: ClassVar[str] = "signal-unknown"


class SagaExists(Conflict):
    """This workflow and key were started with another input."""

    code: ClassVar[str] = "saga-conflict"
    final: ClassVar[bool] = True


class SagaFinal(Conflict):
    """The saga has ended."""

    code: ClassVar[str] = "saga-final"


class SagaCancelled(Conflict):
    """The saga has been cancelled already."""

    code: ClassVar[str] = SAGA_CANCELLED


class SagaPastNoReturn(Conflict):
    """The saga is past its point of no return and will complete."""

    code: ClassVar[str] = "saga-no-return"


class SagaUnwinding(Conflict):
    """The saga has failed and is being unwound already."""

    code: ClassVar[str] = "saga-unwinding"


class StateConflict(Conflict):
    """The saga's present state does not allow this operation."""

    code: ClassVar[str] = "state-conflict"


class SignalConflict(Conflict):
    """Another value stands already; the first one wins."""

    code: ClassVar[str] = "signal-conflict"


class SignalMismatch(Conflict):
    """Order, amount or currency are not what was asked for; recorded, alarmed, not believed."""

    code: ClassVar[str] = "signal-mismatch"


class SignalLate(Conflict):
    """The wait is over: it has expired, or its saga has ended."""

    code: ClassVar[str] = "signal-late"


class InvalidPayload(Invalid):
    """The value does not have the declared shape."""

    code: ClassVar[str] = "invalid-value"


class VersionElsewhere(Unavailable):
    """This replica does not have the saga's version of its workflow; ask again, for another one that has it."""

    code: ClassVar[str] = "version-elsewhere"


_CANCELLED = "cancelled"
_CANCEL_REFUSED: dict[str, type[Conflict]] = {
    "final": SagaFinal,
    "no-return": SagaPastNoReturn,
    "unwinding": SagaUnwinding,
}
_REFUSED: tuple[tuple[type[EngineError], type[RequestError]], ...] = (
    (UnknownWorkflow, WorkflowUnknown),
    (UnknownVersion, VersionElsewhere),
    (UnknownSaga, SagaUnknown),
    (UnknownSignal, SignalUnknown),
    (SagaConflict, SagaExists),
    (CannotOperate, StateConflict),
    (InvalidValue, InvalidPayload),
    (PayloadError, InvalidPayload),
)


@contextmanager
def engine_refusals() -> Iterator[None]:
    """Let what the engine refuses within the block reach the caller as a request error."""
    try:
        yield
    except CannotCancel as refusal:
        final = SagaCancelled if refusal.status == _CANCELLED else _CANCEL_REFUSED[refusal.reason]
        raise final(refusal.message) from refusal
    except EngineError as refusal:
        for kind, answer in _REFUSED:
            if isinstance(refusal, kind):
                raise answer(refusal.message) from refusal
        raise
