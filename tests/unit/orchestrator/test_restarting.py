"""What a restart takes out of a log, what it carries over, and how that stands on the saga's row."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import orjson
import pytest

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.first_lease import leased_from_start
from services.orchestrator.engine.model.records import (
    Call,
    Carried,
    ErrorInfo,
    Kind,
    LogRecord,
    NewSaga,
    Undo,
    UndoStatus,
)
from services.orchestrator.engine.model.restarting import places_of, restart_of
from services.orchestrator.engine.store.columns import read_calls, write_calls

START = datetime(2026, 1, 1, tzinfo=UTC)
ID = UUID(int=1)
SAGA = leased_from_start(NewSaga(ID, "some", 1, "k", "null"), START)


def record(position: str, kind: Kind, name: str = "n", output: str | None = "1") -> LogRecord:
    at = START + timedelta(minutes=positions.number_of(position))
    error = ErrorInfo("refused", "") if output is None else None
    return LogRecord(position, kind, name, at, at + timedelta(seconds=30), output, error)


def undo(seq: int, position: str, status: UndoStatus = UndoStatus.OWED) -> Undo:
    return Undo(ID, seq, "undo", positions.undo_of(position), "[]", position, status=status)


@pytest.mark.scenario("V12")
def test_what_others_have_seen_is_carried_over() -> None:
    """Every kind of record goes; of those that others know, or that are owed, a call stays with what it recorded."""
    log = [record(str(number), kind) for number, kind in enumerate(Kind, 1)]
    restart = restart_of(SAGA, 1, log, [], {"3": '{"amount":1}'})
    assert restart.dropped == tuple(str(number) for number in range(1, len(Kind) + 1))
    assert {call.position: call.carried for call in restart.calls} == {
        "1": Carried(Kind.STEP),
        "3": Carried(Kind.AWAKEABLE, "1", '{"amount":1}'),
        "7": Carried(Kind.START, "1"),
        "8": Carried(Kind.SEND, "1"),
        "10": Carried(Kind.UNDO, "1"),
        "14": Carried(Kind.TRANSACTION, "1"),
        "15": Carried(Kind.CALL, "1"),
    }
    assert all((call.attempt, call.unknown) == (0, True) for call in restart.calls)
    assert [call.started_at for call in restart.calls] == [log[place].started_at for place in (0, 2, 6, 7, 9, 13, 14)]


@pytest.mark.scenario("V12")
def test_what_lies_before_the_position_stays() -> None:
    """Positions are compared as numbers, and a branch belongs to the position that it parts at."""
    log = [record(position, Kind.STEP) for position in ("2", "9", "10.0.1", "10.1.1", "11")]
    assert restart_of(SAGA, 10, log, [], {}).dropped == ("10.0.1", "10.1.1", "11")
    assert places_of(SAGA, log) == {2, 9, 10, 11}
    assert positions.spans(places_of(SAGA, log)) == "2, 9-11"


@pytest.mark.scenario("V12")
def test_calls_under_way_and_those_carried_over_before_stay_known() -> None:
    """A call behind the position is carried over with its age, one before it is left alone, and none is twice there."""
    under_way = [Call("1", "early", 2, START), Call("3", "late", 4, START, retry_at=START, error=ErrorInfo("e", ""))]
    before = Call("4", "left", 0, START, unknown=True, carried=Carried(Kind.STEP))
    saga = SAGA._replace(calls=(*under_way, before))
    assert places_of(saga, []) == {1, 3}
    assert restart_of(saga, 2, [], [undo(1, "3"), undo(2, "4")], {}).calls == (
        under_way[0],
        Call("3", "late", 0, START, unknown=True, carried=Carried(Kind.STEP)),
        before,
    )


@pytest.mark.scenario("V12")
def test_only_undos_behind_the_position_are_looked_at() -> None:
    """A waived undo goes with its step; an owed one without a trace of its step makes a call of the age before it."""
    log = [record("1", Kind.STEP, output=None), record("2", Kind.VALUE), record("3", Kind.STEP, output=None)]
    undos = [undo(1, "1", UndoStatus.WAIVED), undo(2, "3", UndoStatus.WAIVED), undo(3, "4.1.1")]
    restart = restart_of(SAGA, 2, log, undos, {})
    assert restart.waived == (2,)
    lost = Call("4.1.1", "", 0, log[2].finished_at, unknown=True, carried=Carried(Kind.STEP))
    assert restart.calls == (lost,)
    assert restart_of(SAGA, 5, log, undos, {}) == ((), (), ())
    (first,) = restart_of(SAGA, 1, [], [undo(1, "1.0.1")], {}).calls
    assert first.started_at == SAGA.created_at


@pytest.mark.scenario("V12")
def test_of_a_transaction_that_was_not_committed_nothing_is_carried_over() -> None:
    """One that has failed, or stands between two attempts, is as if it had never been run; what lies before stays."""
    log = [record("1", Kind.TRANSACTION, output=None), record("3", Kind.TRANSACTION, output=None)]
    early, late = (
        Call(position, "t", 2, START, retry_at=START, error=ErrorInfo("e", ""), kind=Kind.TRANSACTION)
        for position in ("2", "4")
    )
    restart = restart_of(SAGA._replace(calls=(early, late)), 3, log, [], {})
    assert restart == (("3",), (), (early,))


@pytest.mark.scenario("V12", "V10")
def test_what_is_carried_over_stands_among_the_calls() -> None:
    """It is read as it was written; calls without a mark are written as before; a former release reads it as a call."""
    carried = Call("3", "Paid", 0, START, unknown=True, carried=Carried(Kind.AWAKEABLE, '"awk_1"', '{"amount":1}'))
    plain = Call("1", "a", 1, START, error=ErrorInfo("e", "m"))
    rolled_back = Call("2", "t", 1, START, retry_at=START, error=ErrorInfo("e", "m"), kind=Kind.TRANSACTION)
    text = write_calls((plain, carried, rolled_back))
    assert read_calls(text) == (plain, carried, rolled_back)
    first, second, third = orjson.loads(text or "")
    assert (third[:3], bool(third[4])) == (["2", "t", 1], True)
    assert first == ["1", "a", 1, START.isoformat(), False, None, ["e", "m"]]
    position, name, attempt, _started_at, unknown, retry_at, error = second
    assert (position, name, attempt, bool(unknown), retry_at, error) == ("3", "Paid", 0, True, None, None)
