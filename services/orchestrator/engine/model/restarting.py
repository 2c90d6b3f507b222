"""Which records a restart removes from the log, and what it carries over: effects that may exist, and owed undos."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.records import Call, Carried, Kind, LogRecord, Saga, Undo, UndoStatus

CARRIED: Final = frozenset({Kind.STEP, Kind.TRANSACTION, Kind.AWAKEABLE, Kind.UNDO, Kind.SEND, Kind.START, Kind.CALL})
"""The kinds that others have seen, or that are owed. All other kinds only the saga knows; they are recorded anew."""


class Restart(NamedTuple):
    """A restart: the records and the waived undos that go, by positions and by `seq`, and the calls that stay."""

    dropped: tuple[str, ...]
    waived: tuple[int, ...]
    calls: tuple[Call, ...]


def places_of(saga: Saga, log: Sequence[LogRecord]) -> frozenset[int]:
    """Return the positions of the main line at which, or within which, something is recorded or a call is under way."""
    under_way = [call.position for call in saga.calls if call.carried is None]
    return frozenset(map(positions.number_of, [*(record.position for record in log), *under_way]))


def restart_of(
    saga: Saga, number: int, log: Sequence[LogRecord], undos: Sequence[Undo], expects: Mapping[str, str | None]
) -> Restart:
    """Restart a saga from a position of the main line; `expects` is what callbacks were opened with, by position.

    A step that was definitely refused at every attempt is as if it had never been called, its waived undo too. So is a
    transaction that was not committed.
    """
    dropped = [record for record in log if positions.number_of(record.position) >= number]
    waived = {
        undo.step_position: undo.seq
        for undo in undos
        if undo.status is UndoStatus.WAIVED
        and undo.step_position is not None
        and positions.number_of(undo.step_position) >= number
    }
    calls = {call.position: _carried_over(call, number) for call in saga.calls if not _is_void(call, number)}
    for record in dropped:
        if record.kind in CARRIED and record.position not in waived and not _has_failed(record):
            output = None if record.kind is Kind.STEP else record.output
            carried = Carried(record.kind, output, expects.get(record.position))
            calls[record.position] = _left(record.position, record.name, record.started_at, carried)
    known = {*calls, *(record.position for record in log)}
    for position in _lost(undos, number, known):
        calls[position] = _left(position, "", _earliest(saga, log, position), Carried(Kind.STEP))
    return Restart(tuple(record.position for record in dropped), tuple(waived.values()), tuple(calls.values()))


def _is_void(call: Call, number: int) -> bool:
    """Say whether a call lies behind the position and is a transaction between two attempts: nothing of it is there."""
    return call.kind is Kind.TRANSACTION and positions.number_of(call.position) >= number


def _has_failed(record: LogRecord) -> bool:
    return record.kind is Kind.TRANSACTION and record.error is not None


def _carried_over(call: Call, number: int) -> Call:
    if call.carried is not None or positions.number_of(call.position) < number:
        return call
    return _left(call.position, call.name, call.started_at, Carried(Kind.STEP))


def _left(position: str, name: str, started_at: datetime, carried: Carried) -> Call:
    return Call(position, name, 0, started_at, unknown=True, carried=carried)


def _lost(undos: Sequence[Undo], number: int, known: Collection[str]) -> Iterator[str]:
    """Give the steps whose branch had lost a select during their call: only their undos know of them."""
    for undo in undos:
        position = undo.step_position
        if undo.status is not UndoStatus.OWED or position is None or position in known:
            continue
        if positions.number_of(position) >= number:
            yield position


def _earliest(saga: Saga, log: Sequence[LogRecord], position: str) -> datetime:
    """Return a moment before which a step cannot have been called: the last record before it on the main line."""
    number = positions.number_of(position)
    before = (record.finished_at for record in log if positions.number_of(record.position) < number)
    return max(before, default=saga.created_at)
