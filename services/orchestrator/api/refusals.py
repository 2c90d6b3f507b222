"""Translating the errors of the engine into request errors."""

from collections.abc import Iterator
from contextlib import contextmanager

from services.chassis.errors import Conflict, Fault, RequestError
from services.orchestrator.api.errors import (
    InvalidPayload,
    SagaCancelled,
    SagaExists,
    SagaFinal,
    SagaPastNoReturn,
    SagaUnknown,
    SagaUnreadable,
    SagaUnwinding,
    SignalUnknown,
    StateConflict,
    VersionElsewhere,
    WorkflowUnknown,
)
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
    UnreadableSaga,
)

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
    (UnreadableSaga, SagaUnreadable),
    (InvalidValue, InvalidPayload),
    (PayloadError, InvalidPayload),
)


@contextmanager
def engine_refusals(where: str | None = None) -> Iterator[None]:
    """Raise the errors of the engine within the block as request errors.

    `where`: the place in the request of the value that the engine may find invalid.
    """
    try:
        yield
    except CannotCancel as refusal:
        final = SagaCancelled if refusal.status == _CANCELLED else _CANCEL_REFUSED[refusal.reason]
        raise final(refusal.message) from refusal
    except EngineError as refusal:
        for kind, answer in _REFUSED:
            if isinstance(refusal, kind):
                if answer is InvalidPayload and where is not None:
                    raise InvalidPayload(refusal.message, faults=[Fault(where, refusal.message)]) from refusal
                raise answer(refusal.message) from refusal
        raise
