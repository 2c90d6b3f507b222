"""Calls of other sagas: the called saga is started once, with an undo, and its end settles a signal of the caller."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, NamedTuple

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.model.calls import CANCEL_CALL, CallUndo, label_of, read_until, write_made
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.commands import WaitChild
from services.orchestrator.engine.model.errors import ChildFailed, Divergence, SignalTimeout
from services.orchestrator.engine.model.records import ErrorInfo, Kind, Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.saga_ids import saga_id_of
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.running.starts import started_by
from services.orchestrator.engine.running.undo_rows import is_registered


class CallRequest(NamedTuple):
    """The arguments of `ctx.call`."""

    definition: WorkflowDefinition
    key: str
    input: Any
    subject: str | None
    timeout: timedelta | None
    compensate: Callable[..., Awaitable[None]] | None


async def call(log: RunLog, caller: WorkflowDefinition, codec: Codec, asked: CallRequest) -> Any:
    """Call a saga once and give its result; ChildFailed, SignalTimeout."""
    position = log.next_position()
    child = asked.definition
    label = label_of(child.name, asked.key)
    child_id = str(saga_id_of(child.name, asked.key))
    compensate = asked.compensate
    undo_name = None if compensate is None else log.declared(lambda: caller.undo_name(compensate))
    opened = Signal(log.saga.id, child_id, SignalKind.CHILD)
    log.awakeables[child_id] = opened
    if child_id == str(log.saga.id):
        raise ValueError(f"saga {label!r} calls itself and would wait for its own end: give the call another key")
    record = log.take(position, Kind.CALL, label)
    if record is None:
        if compensate is not None:
            signature_of(compensate).require(2, f"the undo {undo_name!r}")
        since = log.now()
        until = None if asked.timeout is None else since + asked.timeout
        if log.carried(position) is None:
            _make(log, codec, asked, position, CallUndo(child_id, label, undo_name, asked.input))
        else:
            _take_up(log, codec, asked, position, CallUndo(child_id, label, undo_name, asked.input))
        log.append(position, Kind.CALL, label, write_made(child_id, until), at=since)
        if child_id not in log.signals:
            log.pending.opened.append(opened._replace(opened_at=since, until=until))
    else:
        since, until = record.started_at, read_until(record.output)
    wait = WaitChild(position, child_id, SignalKind.CHILD, child.output_type, since, until, label)
    signal: Signal = await wait
    return _result(log, codec, wait, signal)


def _make(log: RunLog, codec: Codec, asked: CallRequest, position: str, undo: CallUndo) -> None:
    """Register the undo and start the saga, both by the flush that has the record."""
    child = started_by(log.saga, codec, asked.definition, asked.key, asked.input, asked.subject, awaited=True)
    log.pending.add_undo(CANCEL_CALL, _undo_args(codec, asked, undo), position, None)
    log.pending.starts.append(child)


def _take_up(log: RunLog, codec: Codec, asked: CallRequest, position: str, undo: CallUndo) -> None:
    """Go on with a call that a restart has carried over; Divergence if its undo has other arguments."""
    if not is_registered(log.registered, position, CANCEL_CALL, _undo_args(codec, asked, undo), codec):
        raise log.fail(
            Divergence(position, f"{Kind.CALL} {undo.label!r} with other arguments", f"{Kind.CALL} {undo.label!r}")
        )
    log.pending.carried.pop(position)


def _undo_args(codec: Codec, asked: CallRequest, undo: CallUndo) -> str:
    """Write the arguments of an undo; the input is kept for an author's undo alone."""
    if undo.compensate is None:
        return codec.encode(tuple(undo._replace(input=None)), CallUndo.shape(type(None)))
    return codec.encode(tuple(undo), CallUndo.shape(asked.definition.input_type))


def _result(log: RunLog, codec: Codec, wait: WaitChild, signal: Signal) -> Any:
    match signal.status:
        case SignalStatus.RESOLVED:
            return log.read(codec, signal.value, wait.shape, wait.position, f"{Kind.CALL} {wait.label!r}")
        case SignalStatus.REJECTED:
            error = signal.error or ErrorInfo(ChildFailed.code, "")
            outcome = signal.identity or "failed"
            raise ChildFailed(error.code, error.message, saga_id=wait.signal, outcome=outcome)
        case _:
            raise SignalTimeout(wait.label)
