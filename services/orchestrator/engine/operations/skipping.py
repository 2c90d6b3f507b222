"""Skipping a step: an operator gives its output, and can correct it until the saga has used it."""

from typing import Any

import orjson

from services.chassis import audit
from services.chassis.postgres.connection import Connection
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.errors import CannotOperate, UnreadableSaga
from services.orchestrator.engine.model.records import HAVE_RESULTS, Call, Carried, Kind, LogRecord, Saga
from services.orchestrator.engine.model.states import Phase
from services.orchestrator.engine.store import steps


async def skip_step(conn: Connection, saga: Saga, position: str, output: Any) -> tuple[Call, ...]:
    """Record an output for a step, under its saga's lock; return the calls that stay. CannotOperate if there is none.

    The undo of a step is registered before its first call, but that of a transaction with its commit. So the output of
    a transaction is carried over, as by a restart: when the code comes to it, it is recorded and its undo registered.
    """
    call = next((call for call in saga.calls if call.position == position), None)
    others = tuple(other for other in saga.calls if other is not call)
    given = orjson.dumps(output).decode()
    if (
        call is not None
        and _is_transaction(call)
        and (call.carried is None or await _was_skipped(conn, saga, position))
    ):
        carried = Carried(Kind.TRANSACTION, given)
        return (*others, call._replace(retry_at=None, error=None, carried=carried))
    if call is None or not _may_skip(saga, call):
        if not await _correct(conn, saga, position, given):
            raise CannotOperate(f"saga {saga.id} has no call under way at position {position!r}")
        return saga.calls
    record = LogRecord(
        position=position,
        kind=call.kind if call.carried is None else call.carried.kind,
        name=call.name,
        started_at=call.started_at,
        finished_at=saga.claimed_at,
        output=given,
        attempts=call.attempt,
    )
    await steps.insert(conn, saga.id, record)
    return others


def require_readable(saga: Saga, column: str) -> None:
    """Make sure that a column of a saga could be read; what its code was at is of no more use once it is undone."""
    if column in saga.unreadable and saga.phase is Phase.FORWARD:
        raise UnreadableSaga(saga.id, [column])


def _is_transaction(call: Call) -> bool:
    return Kind.TRANSACTION is (call.kind if call.carried is None else call.carried.kind)


def _may_skip(saga: Saga, call: Call) -> bool:
    """Say whether a call is under way, or one that a restart has carried over and at which the saga is stuck."""
    if call.carried is None:
        return True
    require_readable(saga, "attention")
    at = saga.attention.position if saga.attention is not None else None
    return call.carried.kind in HAVE_RESULTS and call.position == at


async def _correct(conn: Connection, saga: Saga, position: str, output: str) -> bool:
    """Replace the output of a skipped step; False if the code has gone past it, to a call under way too.

    Such a call was made with the old output.
    """
    if not await _was_skipped(conn, saga, position):
        return False
    reached = [record.position for _, record in await steps.of_sagas(conn, [saga.id])]
    reached += [call.position for call in saga.calls]
    if any(positions.is_after(place, position) for place in reached):
        return False
    return await steps.correct(conn, saga.id, position, output)


async def _was_skipped(conn: Connection, saga: Saga, position: str) -> bool:
    """Say whether the output of a step was given by an operator, and no restart has removed it since."""
    restarts: list[int] = []
    for entry in await audit.find(conn, subject_id=str(saga.id)):
        if entry.action == "skip" and entry.details.get("position") == position:
            return all(number > positions.number_of(position) for number in restarts)
        if entry.action == "restart":
            restarts.append(int(entry.details["from_position"]))
    return False
