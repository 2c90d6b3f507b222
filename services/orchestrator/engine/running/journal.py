"""The journal of one saga's code: answers each primitive from the log, or records it for the next flush."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson

from services.chassis import ids
from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.payloads import require_payload
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.model.calls import label_of
from services.orchestrator.engine.model.commands import RunStep, WaitSignal, WaitTimer
from services.orchestrator.engine.model.errors import (
    Divergence,
    SignalRejected,
    SignalTimeout,
)
from services.orchestrator.engine.model.records import (
    RESOLVED,
    STEP,
    WAIT,
    ErrorInfo,
    Kind,
    Signal,
    SignalKind,
    SignalStatus,
)
from services.orchestrator.engine.model.retry import RetryPolicy
from services.orchestrator.engine.model.saga_ids import awakeable_id
from services.orchestrator.engine.running import child_calls
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.running.messages import addressed
from services.orchestrator.engine.running.starts import started_by
from services.orchestrator.engine.running.state_log import StateLog
from services.orchestrator.engine.running.step_records import result_of, undo_of
from services.orchestrator.engine.running.transaction_request import TransactionRequest
from services.orchestrator.engine.running.undo_rows import is_registered

_VALUE_SHAPES: dict[str, Any] = {"now": datetime, "random": float, "uuid": UUID}


class Journal:
    """Fulfils `Recorder` for one saga."""

    def __init__(self, log: RunLog, definition: WorkflowDefinition, *, codec: LimitedCodec, clients: Any) -> None:
        """Take the log to answer from and to record in."""
        self._log = log
        self._definition = definition
        self._codec = codec
        self._clients = clients
        self.state = StateLog(log, codec)

    def next_position(self) -> str:
        """Return the next position of the line that is running."""
        return self._log.next_position()

    def recorded(self, position: str, kind: Kind, name: str) -> str | None:
        """Return the output recorded at a position, None if the code has got further than the log."""
        return self._log.recorded(position, kind, name)

    # steps and undos

    async def run_step(
        self,
        name: str,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        undo: Callable[..., Awaitable[None]] | None,
        retry: RetryPolicy,
        timeout_s: float,
        reconcile: Callable[..., Awaitable[Any]] | None,
    ) -> Any:
        """Return a step's recorded result, or ask the executor for its call."""
        position = self.next_position()
        record = self._log.take(position, STEP, name)
        signature = signature_of(fn)
        if record is not None:
            return result_of(self._log, record, self._codec, signature)
        signature.require(len(args), f"the step {name!r}")
        require_payload(signature.result, self._codec, f"the result of the step {name!r}")
        if reconcile is not None:
            signature_of(reconcile).require(len(args), f"the read-back of {name!r}")
        undo_name, undo_args = undo_of(self._log, self._definition, self._codec, undo, args, signature, name)
        return await RunStep(
            position, name, fn, args, signature.result, retry, timeout_s, undo_name, undo_args, reconcile
        )

    async def run_transaction(
        self,
        name: str,
        fn: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        undo: Callable[..., Awaitable[None]] | None,
        retry: RetryPolicy,
        timeout_s: float,
    ) -> Any:
        """Return a transaction's recorded result, or ask the executor to run it."""
        asked = TransactionRequest(name, fn, args, undo, retry, timeout_s)
        return await asked.answer(self._log, self._definition, self._codec)

    def add_undo(self, fn: Callable[..., Awaitable[None]], args: tuple[Any, ...]) -> None:
        """Register an undo of its own, once."""
        name = self._log.declared(lambda: self._definition.undo_name(fn))
        position = self.next_position()
        carried = self._log.carried(position)
        if self.recorded(position, Kind.UNDO, name) is not None and carried is None:
            return
        signature = signature_of(fn)
        signature.require(len(args), f"the undo {name!r}")
        encoded = self._codec.encode(args, signature.shape_of_args(len(args)))
        if carried is None:
            self._log.pending.add_undo(name, encoded, position, None)
            self._log.append(position, Kind.UNDO, name, "null")
        elif not is_registered(self._log.registered, position, name, encoded, self._codec):
            raise self._log.fail(
                Divergence(position, f"{Kind.UNDO} {name!r} of other arguments", f"{Kind.UNDO} {name!r}")
            )

    # waiting

    async def sleep(self, duration: timedelta | None, moment: datetime | None) -> None:
        """Fix when to wake, once, and wait for it."""
        position = self.next_position()
        record = self._log.take(position, Kind.TIMER, "sleep")
        if record is None:
            since = self._log.now()
            due_at = moment if moment is not None else since + (duration or timedelta(0))
            self._log.append(position, Kind.TIMER, "sleep", _json(due_at.isoformat()), at=since)
        else:
            since, due_at = record.started_at, datetime.fromisoformat(orjson.loads(record.output or ""))
            if self._log.has_passed(position):
                return
        await WaitTimer(position, since, due_at)

    def open_awakeable(self, shape: Any, expects: Mapping[str, Any] | None) -> str:
        """Open an awakeable once; its id is random and names its saga, so that it is found without a search."""
        position = self.next_position()
        shape_name = self._log.declared(lambda: self._definition.awakeable_name(shape))
        carried = self._log.carried(position)
        recorded = self.recorded(position, Kind.AWAKEABLE, shape_name)
        saga_id = self._log.saga.id
        signal_id = awakeable_id(saga_id, ids.new_secret(16)) if recorded is None else str(orjson.loads(recorded))
        expected = None if expects is None else _json(dict(expects))
        if carried is not None and not _equal(carried.expects, expected):
            found = f"{Kind.AWAKEABLE} {shape_name!r}"
            raise self._log.fail(Divergence(position, f"{found} that expects {carried.expects}", found))
        signal = Signal(saga_id, signal_id, SignalKind.AWAKEABLE, shape=shape_name, expects=expected)
        self._log.awakeables[signal_id] = signal
        if recorded is None:
            self._log.append(position, Kind.AWAKEABLE, shape_name, _json(signal_id))
            self._log.pending.opened.append(signal._replace(opened_at=self._log.now()))
        return signal_id

    def promise_shape(self, name: str) -> Any:
        """Return a declared promise's type."""
        return self._log.declared(lambda: self._definition.promise_shape(name))

    async def wait_signal(self, name: str, kind: SignalKind, shape: Any, timeout: timedelta | None) -> Any:
        """Wait for a signal's value; when the wait begins its deadline is fixed."""
        position = self.next_position()
        record = self._log.take(position, WAIT, name)
        if record is None:
            since = self._log.now()
            until = None if timeout is None else since + timeout
            self._log.append(position, WAIT, name, _json(until and until.isoformat()), at=since)
            if name not in self._log.signals:
                opened = Signal(saga_id=self._log.saga.id, name=name, kind=kind, opened_at=since, until=until)
                self._log.pending.opened.append(opened)
        else:
            since = record.started_at
            deadline = orjson.loads(record.output or "null")
            until = None if deadline is None else datetime.fromisoformat(deadline)
        signal: Signal = await WaitSignal(position, name, str(kind), shape, since, until)
        return self._settled_value(position, signal, shape)

    def peek(self, name: str, shape: Any) -> Any:
        """Look at a signal once and record what was seen."""
        position = self.next_position()
        recorded = self.recorded(position, Kind.PEEK, name)
        if recorded is None:
            signal = self._log.signals.get(name)
            seen = signal.value if signal is not None and signal.status is RESOLVED else None
            recorded = "[]" if seen is None else f"[{seen}]"
            self._log.append(position, Kind.PEEK, name, recorded)
        values = self._codec.decode(recorded, list[shape])
        return values[0] if values else None

    def _settled_value(self, position: str, signal: Signal, shape: Any) -> Any:
        if signal.status is RESOLVED:
            return self._log.read(self._codec, signal.value, shape, position, f"{signal.kind} {signal.name!r}")
        if signal.status is SignalStatus.REJECTED:
            error = signal.error or ErrorInfo("signal-rejected", "")
            raise SignalRejected(error.code, error.message)
        raise SignalTimeout(signal.name)

    # what leaves the saga, and what is only recorded

    def start(self, definition: WorkflowDefinition, key: str, value: Any, subject: str | None, delay_s: float) -> str:
        """Start a saga once and give its id."""
        position = self.next_position()
        name = label_of(definition.name, key)
        recorded = self.recorded(position, Kind.START, name)
        if recorded is not None:
            return str(orjson.loads(recorded))
        new = started_by(self._log.saga, self._codec, definition, key, value, subject, delay_s=delay_s)
        self._log.pending.starts.append(new)
        self._log.append(position, Kind.START, name, _json(str(new.id)))
        return str(new.id)

    async def call(
        self,
        definition: WorkflowDefinition,
        key: str,
        value: Any,
        subject: str | None,
        timeout: timedelta | None,
        undo: Callable[..., Awaitable[None]] | None,
    ) -> Any:
        """Call a saga once and wait for its end; the deadline is fixed once."""
        asked = child_calls.CallRequest(definition, key, value, subject, timeout, undo)
        return await child_calls.call(self._log, self._definition, self._codec, asked)

    def send(self, message: Message) -> None:
        """Put a message into the outbox once; its id is the saga's and the position's."""
        position = self.next_position()
        if self.recorded(position, Kind.SEND, f"{message.service} {message.name}") is None:
            message_id = message.id or f"{self._log.saga.id}:{position}"
            self._log.pending.messages.append(addressed(message, self._log.saga, message_id, self._codec))
            self._log.append(position, Kind.SEND, f"{message.service} {message.name}", _json(message_id))

    def no_return(self) -> None:
        """Pass the point of no return once."""
        position = self.next_position()
        if self.recorded(position, Kind.NO_RETURN, "no_return") is None:
            self._log.append(position, Kind.NO_RETURN, "no_return", "null")
        self._log.pending.no_return = True

    def set_status(self, text: str) -> None:
        """Set the progress text once."""
        position = self.next_position()
        if self.recorded(position, Kind.STATUS, "set_status") is None:
            self._log.append(position, Kind.STATUS, "set_status", _json(text))
            self._log.pending.progress = text

    def patched(self, name: str) -> bool:
        """Say whether the code goes the way that the version marker `name` stands for; recorded if so."""
        return self._log.patched(name)

    def deprecate_patch(self, name: str) -> None:
        """Pass a version marker that may stand here, and record none."""
        self._log.pass_marker(name)

    def value(self, name: str, fn: Callable[[Any], Any] | None) -> Any:
        """Return a recorded value, or take it now: from `fn`, or by name (`now`, `uuid`, `random`)."""
        position = self.next_position()
        shape = signature_of(fn).result if fn is not None else _VALUE_SHAPES[name]
        recorded = self.recorded(position, Kind.VALUE, name)
        if recorded is not None:
            return self._log.read(self._codec, recorded, shape, position, f"{Kind.VALUE} {name!r}")
        text, value = self._codec.kept(fn(self._clients) if fn is not None else _fresh(name, self._log), shape)
        self._log.append(position, Kind.VALUE, name, text)
        return value


def _fresh(name: str, log: RunLog) -> Any:
    match name:
        case "now":
            return log.now()
        case "random":
            return ids.jitter(0.0, 1.0)
        case _:
            return ids.new_uuid()


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _equal(one: str | None, other: str | None) -> bool:
    return bool(orjson.loads(one or "null") == orjson.loads(other or "null"))
