"""How a call that is read back stands on its saga's row, and what the release before reads there."""

from datetime import UTC, datetime, timedelta

import orjson
import pytest

from services.orchestrator.engine.model.records import Call, ErrorInfo, ReadBack
from services.orchestrator.engine.store.columns import read_calls, write_calls

START = datetime(2026, 1, 1, tzinfo=UTC)
FAILURE = ErrorInfo("step-exhausted", "act gave up")
CALL = Call("1", "act", 3, START, unknown=True, error=ErrorInfo("gone", "no answer"))


@pytest.mark.scenario("V10")
@pytest.mark.parametrize("unknown", [True, False])
@pytest.mark.parametrize("retry_at", [None, START + timedelta(hours=1)])
@pytest.mark.parametrize("failure", [None, FAILURE])
def test_a_read_back_comes_back_from_the_row(unknown: bool, retry_at: datetime | None, failure: ErrorInfo) -> None:
    """Why it is made, how often it was and when it is made next are written, and so is whether its step is in doubt."""
    call = CALL._replace(unknown=unknown, retry_at=retry_at, read_back=ReadBack(2, failure))
    assert read_calls(write_calls((call, CALL))) == (call, CALL)


@pytest.mark.scenario("V10", "G4")
def test_the_release_before_sees_a_call_that_was_cut_off() -> None:
    """It reads seven values, takes the fifth for a truth or a list, and would repeat a call whose pause is over."""
    call = CALL._replace(retry_at=START, read_back=ReadBack(1, FAILURE))
    ((position, name, attempt, started_at, unknown, retry_at, error),) = orjson.loads(write_calls((call,)) or "")
    assert (position, name, attempt, error) == ("1", "act", 3, ["gone", "no answer"])
    assert datetime.fromisoformat(started_at) == START
    assert not isinstance(unknown, list)
    assert (bool(unknown), retry_at) == (True, None)


@pytest.mark.scenario("V10")
def test_what_the_release_before_wrote_is_read() -> None:
    """A call of seven values, whose outcome is known or not, is one that is not read back."""
    rows = [["1", "act", 3, START, unknown, START, None] for unknown in (True, False)]
    read = read_calls(orjson.dumps(rows).decode())
    assert [(call.unknown, call.retry_at, call.read_back) for call in read] == [
        (True, START, None),
        (False, START, None),
    ]


def test_tries_are_counted_apart_from_attempts() -> None:
    """A read-back leaves the count of attempts alone, and begins at none."""
    asked = CALL.read_back_at(START, FAILURE).next_attempt()
    assert (asked.attempt, asked.read_back, asked.retry_at) == (3, ReadBack(1, FAILURE), None)
    assert asked.uncounted().read_back == ReadBack(0, FAILURE)
