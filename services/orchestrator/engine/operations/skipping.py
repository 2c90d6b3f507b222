"""Settling a step by hand: what it gives is recorded for it, or may be corrected as long as nothing has come of it."""

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
    """Give a step its output, under its saga's lock; return the calls that stay. CannotOperate if there is none there.

    The undo of a step has been registered before its first call, that of a transaction is with its commit. So what a
    transaction is given is carried over, as by a restart: where the code comes to it, it is recorded and its undo owed.
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


def require_legible(saga: Saga, column: str) -> None:
    """Make sure that a column of a saga could be read; what its code was at is of no more use once it is undone."""
    if column in saga.illegible and saga.phase is Phase.FORWARD:
        raise UnreadableSaga(saga.id, [column])


def _is_transaction(call: Call) -> bool:
    return Kind.TRANSACTION is (call.kind if call.carried is None else call.carried.kind)


def _may_skip(saga: Saga, call: Call) -> bool:
    """Say whether a call is under way, or one that a restart has carried over and at which the saga is stuck."""
    if call.carried is None:
        return True
    require_legible(saga, "attention")
    at = saga.attention.position if saga.attention is not None else None
    return call.carried.kind in HAVE_RESULTS and call.position == at


async def _correct(conn: Connection, saga: Saga, position: str, output: str) -> bool:
    """Give a step that was skipped another output, unless its saga has gone on from there, to a call as well.

    That call, its key and its undo were asked for with what the code had then.
    """
    if not await _was_skipped(conn, saga, position):
        return False
    reached = [record.position for _, record in await steps.of_sagas(conn, [saga.id])]
    reached += [call.position for call in saga.calls]
    if any(positions.is_after(place, position) for place in reached):
        return False
    return await steps.correct(conn, saga.id, position, output)


async def _was_skipped(conn: Connection, saga: Saga, position: str) -> bool:
    """Say whether what a step has recorded was given by an operator, and no restart has taken it out since."""
    restarts: list[int] = []
    for entry in await audit.find(conn, subject_id=str(saga.id)):
        if entry.action == "skip" and entry.details.get("position") == position:
            return all(number > positions.number_of(position) for number in restarts)
        if entry.action == "restart":
            restarts.append(int(entry.details["from_position"]))
    return False
