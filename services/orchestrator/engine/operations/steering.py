"""The operations that change the state of a saga: each runs under its row lock, and leaves an audit row."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

import orjson

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.errors import CannotCancel, CannotOperate, UnknownSaga, UnreadableSaga
from services.orchestrator.engine.model.records import ErrorInfo, Kind, LogRecord, Saga, UndoStatus
from services.orchestrator.engine.model.restarting import Restart, places_of, restart_of
from services.orchestrator.engine.model.saga_ids import read_saga_id
from services.orchestrator.engine.model.states import Outcome, Phase, RunState, status_word
from services.orchestrator.engine.operations.requests import OperationRequest
from services.orchestrator.engine.operations.skipping import require_readable, skip_step
from services.orchestrator.engine.store import compensations, sagas, signals, steps
from services.orchestrator.engine.store.sagas import Operation

CANCELLED = "cancelled"
REQUESTS_KEPT = timedelta(days=7)
"""How long a request is known again: as long as answers are kept."""
Decide = Callable[[Connection, Saga], Awaitable[Operation | None]]
"""Decides about a locked saga: returns its new state, or None to leave it as it is; may write rows of its own."""
_NO_DETAILS: Final[Mapping[str, str]] = {}


class Steering:
    """Changes the state of sagas; every change makes a new epoch, so that the replica that runs the saga stops.

    A repeated request whose operation was done before succeeds, and does nothing.
    """

    def __init__(self, database: Database, clock: Clock, hooks: EngineHooks) -> None:
        """Take where sagas are."""
        self._database = database
        self._clock = clock
        self._hooks = hooks

    async def cancel(self, saga_id: str, request: OperationRequest) -> None:
        """Unwind a saga; a claim then does its undos and ends it. Repeating it while it unwinds changes nothing.

        It needs nothing of the saga but its undos: calls that cannot be read are dropped, as all are that are undone.
        """

        async def decide(_: Connection, saga: Saga) -> Operation | None:
            status = _status(saga)
            if saga.phase is Phase.ENDED:
                raise CannotCancel("final", status)
            if saga.phase is Phase.COMPENSATING:
                if saga.outcome is Outcome.CANCELLED:
                    return None
                raise CannotCancel("unwinding", status)
            if saga.no_return:
                raise CannotCancel("no-return", status)
            return Operation(
                phase=Phase.COMPENSATING,
                run_state=RunState.READY,
                outcome=Outcome.CANCELLED,
                due_at=saga.claimed_at,
                calls=saga.calls,
                error=ErrorInfo(CANCELLED, request.reason),
            )

        await self._steer(saga_id, "cancel", request, decide, code=CANCELLED)

    async def pause(self, saga_id: str, request: OperationRequest) -> None:
        """Stop a saga where it is until it is resumed; a call under way counts as unknown."""

        async def decide(_: Connection, saga: Saga) -> Operation:
            allowed = (RunState.READY, RunState.LEASED, RunState.WAITING)
            _require(saga, saga.phase is Phase.FORWARD and saga.run_state in allowed, "pause")
            return _to(saga, RunState.PAUSED)

        await self._steer(saga_id, "pause", request, decide)

    async def resume(self, saga_id: str, request: OperationRequest) -> None:
        """Let a paused saga go on."""

        async def decide(_: Connection, saga: Saga) -> Operation:
            _require(saga, saga.run_state is RunState.PAUSED, "resume")
            return _to(saga, RunState.READY)

        await self._steer(saga_id, "resume", request, decide)

    async def retry(self, saga_id: str, request: OperationRequest) -> None:
        """Let a stuck saga try again; an undo that has given up starts to count anew."""

        async def decide(conn: Connection, saga: Saga) -> Operation:
            _require(saga, saga.run_state is RunState.STUCK, "retry")
            await compensations.count_anew(conn, saga.id)
            return _to(saga, RunState.READY)

        await self._steer(saga_id, "retry", request, decide)

    async def skip(self, saga_id: str, position: str, request: OperationRequest, output: Any = None) -> None:
        """Settle by hand what a stuck saga cannot do: an undo counts as done, a step gets `output` as its result.

        What was given last may be corrected: its shape is seen only when the code takes it.
        """

        async def decide(conn: Connection, saga: Saga) -> Operation:
            _require(saga, saga.run_state is RunState.STUCK, "skip")
            if saga.phase is Phase.COMPENSATING:
                await self._skip_undo(conn, saga, position, request.reason)
                return _to(saga, RunState.READY)
            require_readable(saga, "calls")
            with _read_by(saga):
                calls = await skip_step(conn, saga, position, output)
            return replace(_to(saga, RunState.READY), calls=calls)

        await self._steer(saga_id, "skip", request, decide, {"position": position})

    async def restart(self, saga_id: str, from_position: str, request: OperationRequest) -> None:
        """Run a stuck or paused saga anew from a position of its main line; what is recorded before it stays.

        No effect is done twice and no undo forgotten: keys stay, and what may have taken effect is carried over.
        """
        number = int(from_position)

        async def decide(conn: Connection, saga: Saga) -> Operation:
            _require_restartable(saga)
            require_readable(saga, "calls")
            with _read_by(saga):
                restart = await self._restart(conn, saga, number)
            await steps.drop(conn, saga.id, restart.dropped)
            await compensations.drop_waived(conn, saga.id, restart.waived)
            return replace(_to(saga, RunState.READY), calls=restart.calls)

        await self._steer(saga_id, "restart", request, decide, {"from_position": from_position})

    async def _steer(
        self,
        saga_id: str,
        action: str,
        request: OperationRequest,
        decide: Decide,
        details: Mapping[str, str] = _NO_DETAILS,
        *,
        code: str | None = None,
    ) -> None:
        """Lock a saga, and change its state as `decide` says; once for each request."""
        async with self._database.begin() as conn:
            await request.claim(conn)
            saga = await sagas.lock(conn, read_saga_id(saga_id), now=self._clock.sql_now())
            if saga is None:
                raise UnknownSaga
            if await _is_done(conn, saga, action, request):
                return
            operation = await decide(conn, saga)
            if operation is None:
                return
            await sagas.operate(conn, saga.id, operation, at=saga.claimed_at)
            await audit.record(
                conn,
                action=action,
                subject_id=str(saga.id),
                actor=request.by,
                reason=request.reason,
                details={**details, **request.mark()},
                now=self._clock.sql_now(),
            )
        after = status_word(operation.phase, operation.run_state, operation.outcome, saga.epoch + 1)
        self._hooks.transition(saga, _status(saga), after, code)

    async def _restart(self, conn: Connection, saga: Saga, number: int) -> Restart:
        log = [record for _, record in await steps.of_sagas(conn, [saga.id])]
        places = places_of(saga, log)
        if number != 1 and number not in places:
            stands = positions.spans(places) or "nothing yet"
            raise CannotOperate(f"saga {saga.id} has nothing at position {number}; its log has: {stands}")
        undos = await compensations.of_saga(conn, saga.id)
        return restart_of(saga, number, log, undos, await self._expectations(conn, saga, log))

    async def _expectations(self, conn: Connection, saga: Saga, log: Sequence[LogRecord]) -> dict[str, str | None]:
        """Return what the callbacks of a log were opened with, by position."""
        found: dict[str, str | None] = {}
        for record in log:
            if record.kind is not Kind.AWAKEABLE:
                continue
            name = orjson.loads(record.output or "null")
            if not isinstance(name, str | None):
                raise TypeError("a callback whose id is no text")
            signal = None if name is None else await signals.get(conn, saga.id, name)
            if signal is not None:
                found[record.position] = signal.expects
        return found

    async def _skip_undo(self, conn: Connection, saga: Saga, position: str, reason: str) -> None:
        undos = await compensations.of_saga(conn, saga.id)
        owed = next((undo for undo in undos if undo.position == position and undo.status is UndoStatus.OWED), None)
        if owed is None:
            raise CannotOperate(f"saga {saga.id} owes no undo at position {position!r}")
        await compensations.skip(conn, owed, reason=reason, at=saga.claimed_at)


async def _is_done(conn: Connection, saga: Saga, action: str, request: OperationRequest) -> bool:
    """Say whether an operation has been done for this request, whose answer was lost then; under the saga's lock."""
    if request.once is None:
        return False
    since = saga.claimed_at - REQUESTS_KEPT
    return await audit.is_recorded(conn, action=action, subject_id=str(saga.id), details=request.mark(), since=since)


def _status(saga: Saga) -> str:
    return status_word(saga.phase, saga.run_state, saga.outcome, saga.epoch)


def _require(saga: Saga, allowed: bool, what: str) -> None:  # noqa: FBT001 - it reads as the sentence it is
    if not allowed:
        raise CannotOperate(f"cannot {what} saga {saga.id}: it is {_status(saga)}")


def _require_restartable(saga: Saga) -> None:
    """Make sure that a saga may be run anew: it stands still and nothing of it has been undone."""
    if saga.phase is Phase.ENDED:
        raise CannotOperate(f"cannot restart saga {saga.id}: it has ended as {_status(saga)}")
    if saga.phase is Phase.COMPENSATING:
        raise CannotOperate(f"cannot restart saga {saga.id}: it is being undone")
    if saga.run_state not in (RunState.PAUSED, RunState.STUCK):
        raise CannotOperate(f"cannot restart saga {saga.id}: it is {_status(saga)}; pause it first")


@contextmanager
def _read_by(saga: Saga) -> Iterator[None]:
    """Work with a saga's log within the block: UnreadableSaga if that holds what no release of ours writes there."""
    try:
        yield
    except (TypeError, ValueError, LookupError) as error:
        raise UnreadableSaga(saga.id, ["log"]) from error


def _to(saga: Saga, run_state: RunState) -> Operation:
    """Return the operation that changes the run state alone; calls that cannot be read cannot be written either."""
    require_readable(saga, "calls")
    due_at = saga.claimed_at if run_state is RunState.READY else None
    return Operation(saga.phase, run_state, saga.outcome, due_at, saga.calls, saga.error)
