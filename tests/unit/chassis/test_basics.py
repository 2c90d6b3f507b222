"""The small things everything stands on: ids, the clock, loops, named queries, the error tree."""

import asyncio
import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.chassis import errors, ids
from services.chassis.clock import Clock
from services.chassis.inbound import problems
from services.chassis.loop import Loop
from services.chassis.postgres.sql import Queries
from tests.support.clock import ManualClock


def test_derived_ids_are_stable_and_unambiguous() -> None:
    """The same parts give the same id; parts split elsewhere give another."""
    assert ids.derived_uuid("saga", "order", "o-1") == ids.derived_uuid("saga", "order", "o-1")
    assert ids.derived_uuid("a", "bc") != ids.derived_uuid("ab", "c")
    assert ids.derived_uuid('a","b') != ids.derived_uuid("a", "b")


def test_new_ids_are_url_safe_and_differ() -> None:
    """An id has its prefix, 128 random bits and nothing that a URL would escape."""
    made = {ids.new_id("pay") for _ in range(100)}
    assert len(made) == 100
    assert all(one.startswith("pay_") and len(one) == 26 and one.isascii() for one in made)


def test_the_clock_takes_the_databases_time() -> None:
    """After a calibration `now()` is the database's time, whatever this machine's clock says."""
    clock = Clock()
    clock.calibrate(datetime(2040, 1, 1, tzinfo=UTC), clock.monotonic())
    assert abs(clock.now() - datetime(2040, 1, 1, tzinfo=UTC)) < timedelta(seconds=5)
    assert clock.sql_now() is None


async def test_waiting_ends_with_the_event_or_with_the_time(clock: ManualClock) -> None:
    """`wait` says whether the event was set; neither way leaves a task behind."""
    event = asyncio.Event()
    waiting = asyncio.create_task(clock.wait(event, 10))
    while not clock.sleeping:
        await asyncio.sleep(0)
    clock.advance(10)
    assert await waiting is False
    waiting = asyncio.create_task(clock.wait(event, float("inf")))
    await asyncio.sleep(0)
    event.set()
    assert await waiting is True


async def test_a_loop_runs_when_nudged_and_nudges_are_one(clock: ManualClock) -> None:
    """Nudges that come during a run lead to exactly one more run."""
    runs = 0
    done = asyncio.Event()

    async def run_once() -> float:
        nonlocal runs
        runs += 1
        if runs == 1:
            loop.nudge()
            loop.nudge()
        if runs == 2:
            done.set()
        return float("inf")

    loop = Loop("test", run_once, clock=clock)
    loop.start()
    await done.wait()
    await loop.stop()
    assert runs == 2
    assert not loop.running


async def test_a_failing_loop_backs_off_and_lives(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    """An exception is logged and followed by a pause that a nudge does not cut short; the loop goes on."""
    runs = 0
    worked = asyncio.Event()

    async def run_once() -> float:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise OSError("no")
        worked.set()
        return float("inf")

    loop = Loop("test", run_once, clock=clock)
    loop.start()
    for expected in (1, 2):
        while not clock.sleeping:
            await asyncio.sleep(0)
        loop.nudge()
        for _ in range(20):
            await asyncio.sleep(0)
        assert runs == expected
        clock.advance(10)
    await worked.wait()
    await loop.stop()
    assert "loop.failed" in capsys.readouterr().out


@pytest.mark.parametrize("error", [ConnectionRefusedError("no"), ValueError("no")])
async def test_only_what_may_be_a_bug_is_told_with_a_traceback(
    clock: ManualClock, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    """A database that is away is one line for each try, which says what came of it."""

    async def run_once() -> float:
        raise error

    loop = Loop("test", run_once, clock=clock)
    loop.start()
    while not clock.sleeping:
        await asyncio.sleep(0)
    await loop.stop()
    out = capsys.readouterr().out
    assert type(error).__name__ in out
    assert ("Traceback" in out) is isinstance(error, ValueError)


async def test_a_loop_stops_during_its_backoff(clock: ManualClock, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopping does not wait for the pause after a failure to end."""

    async def run_once() -> float:
        raise OSError("no")

    loop = Loop("test", run_once, clock=clock)
    loop.start()
    while not clock.sleeping:
        await asyncio.sleep(0)
    await loop.stop()
    assert "loop.failed" in capsys.readouterr().out


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "queries.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_queries_are_named_blocks(tmp_path: Path) -> None:
    """A file's header is skipped, each named block is one statement."""
    queries = Queries.load(write(tmp_path, "-- header\n\n-- name: one\nselect 1;\n\n-- name: two\n-- why\nselect 2\n"))
    assert queries.names == {"one", "two"}
    assert queries["two"].text == "select 2"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-- name: a\nselect 1\n-- name: a\nselect 2", "twice"),
        ("select 1\n-- name: a\nselect 1", "before the first name"),
        ("-- name: a\n-- name: b\nselect 1", "empty"),
        ("-- name: A-b\nselect 1", "not a name"),
    ],
)
def test_a_doubtful_query_file_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """Duplicate, missing, empty and malformed names are faults."""
    with pytest.raises(ValueError, match=reason):
        Queries.load(write(tmp_path, text))


def test_an_unknown_query_is_refused(tmp_path: Path) -> None:
    """A name that the file does not have is a KeyError that names the file."""
    with pytest.raises(KeyError, match=r"queries.sql has no query 'b'"):
        Queries.load(write(tmp_path, "-- name: a\nselect 1"))["b"]


NARROWED = """
-- name: find
select a from t where {conditions} limit :limit
-- name: by_a
a = :a or a is null
-- name: behind
b > :b
-- name: whole
select 1
"""


def test_conditions_narrow_a_statement(tmp_path: Path) -> None:
    """All conditions hold together, each as a whole; none of them lets every row through."""
    queries = Queries.load(write(tmp_path, NARROWED))
    narrowed = queries.narrowed("find", "by_a", None, "behind")
    assert narrowed.text == "select a from t where (a = :a or a is null) and (b > :b) limit :limit"
    assert narrowed.parameters == ("a", "b", "limit")
    assert queries.narrowed("find", "by_a", "behind") is narrowed
    assert queries.narrowed("find", None).text == "select a from t where true limit :limit"


def test_a_statement_without_a_place_for_conditions_is_not_narrowed(tmp_path: Path) -> None:
    """What would be left out must not be left out silently."""
    with pytest.raises(ValueError, match="cannot be narrowed"):
        Queries.load(write(tmp_path, NARROWED)).narrowed("whole", "by_a")


def subclasses(kind: type[errors.OrderSagaError]) -> list[type[errors.OrderSagaError]]:
    return [kind, *(below for sub in kind.__subclasses__() for below in subclasses(sub))]


def test_every_error_has_a_code_a_message_and_a_place_in_the_tree() -> None:
    """Each class in errors.py is drawn in its docstring, has a code of its own, and a default message."""
    kinds = [kind for kind in subclasses(errors.OrderSagaError) if kind.__module__ == errors.__name__]
    assert len({kind.code for kind in kinds}) == len(kinds)
    for kind in kinds:
        assert kind.__name__ in (errors.__doc__ or "")
        assert errors.default_message(kind).endswith(".")
        assert "status" not in vars(kind), "an error never knows its HTTP status"


def test_every_request_error_has_a_client_status() -> None:
    """The one mapping covers every RequestError, and none of them is a 500."""
    for kind in subclasses(errors.RequestError):
        if kind is not errors.RequestError:
            assert problems.status_of(kind) != 500, kind
    assert problems.status_of(errors.SettingsError) == 500


def test_default_messages_are_the_docstrings() -> None:
    """An error without a message says its class's docstring."""
    assert errors.NotFound().message == inspect.cleandoc(errors.NotFound.__doc__ or "")
    assert str(errors.Conflict("no")) == "no"
