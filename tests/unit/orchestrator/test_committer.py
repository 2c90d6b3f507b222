"""Group commit: what a batch carries, who writes the next, and that nobody waits for a write that will not come."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import pytest
import structlog
from asyncpg import DataError, LockNotAvailableError, QueryCanceledError

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.errors import LeaseLost
from services.orchestrator.engine.model.flush import APPLIED, Flush, FlushAnswer
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.model.states import FORWARD, LEASED
from services.orchestrator.engine.running import committer
from services.orchestrator.engine.running.committer import CROWD, Committer
from services.orchestrator.engine.store import flushes

LIMIT = 500
PATIENCE_S = 15.0


class Postgres:
    """Takes batches, and answers each when it is told to."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Flush]] = []
        self.answers: list[asyncio.Future[None]] = []
        self.locked: set[UUID] = set()
        self.refused: set[UUID] = set()
        self.in_time_at_most = LIMIT

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[None]:
        yield None

    @asynccontextmanager
    async def in_time(self, seconds: float) -> AsyncIterator[None]:
        del seconds
        yield None

    async def write(self, conn: None, batch: Sequence[Flush], **_: Any) -> Sequence[FlushAnswer]:
        del conn
        if any(flush.saga_id in self.locked for flush in batch):
            await asyncio.sleep(0)
            raise LockNotAvailableError("locked by somebody")
        if any(flush.saga_id in self.refused for flush in batch):
            await asyncio.sleep(0)
            raise DataError("no column holds that")
        if len(batch) > self.in_time_at_most:
            await asyncio.sleep(0)
            raise QueryCanceledError("canceling statement due to statement timeout")
        answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.batches.append(batch)
        self.answers.append(answer)
        await answer
        return [APPLIED] * len(batch)

    @property
    def sizes(self) -> list[int]:
        return [len(batch) for batch in self.batches]


@pytest.fixture
def postgres(monkeypatch: pytest.MonkeyPatch) -> Postgres:
    found = Postgres()
    monkeypatch.setattr(flushes, "write", found.write)
    return found


@pytest.fixture
async def writing(postgres: Postgres) -> Committer:
    made = Committer(
        cast("Database", postgres),
        Clock(),
        EngineHooks(),
        EngineSettings(flush_batch=LIMIT),
        on_applied=cast("Callable[[Flush], None]", id),
    )
    made.start()
    return made


def flush(number: int) -> Flush:
    return Flush(UUID(int=number), 1, 1, FORWARD, LEASED, 0)


def submitted(writing: Committer, count: int) -> list["asyncio.Future[FlushAnswer]"]:
    return [writing.submit(flush(number)) for number in range(count)]


async def turns_of_the_loop(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_has_written_a_batch_writes_what_has_gathered(postgres: Postgres, writing: Committer) -> None:
    """Much that has gathered is on its way before anybody who was answered goes on."""
    first = submitted(writing, 4)
    await turns_of_the_loop()
    seen: list[list[int]] = []
    first[0].add_done_callback(lambda _: seen.append(postgres.sizes))
    submitted(writing, 3)
    await turns_of_the_loop()
    assert postgres.sizes == [4]
    postgres.answers[0].set_result(None)
    await turns_of_the_loop()
    assert seen == [[4, 3]]
    await writing.stop()


async def test_those_who_were_answered_queue_before_little_goes_out(postgres: Postgres, writing: Committer) -> None:
    """Little that has gathered waits for them, and not longer than they need."""

    async def goes_on() -> None:
        await writing.submit(flush(1))
        _ = writing.submit(flush(2))

    going = [asyncio.create_task(goes_on()) for _ in range(4)]
    await turns_of_the_loop()
    submitted(writing, 1)
    postgres.answers[0].set_result(None)
    await asyncio.gather(*going)
    await turns_of_the_loop(2)
    assert postgres.sizes == [4, 5]
    await writing.stop()


async def test_a_crowd_is_shared_out_and_a_few_gather(postgres: Postgres, writing: Committer) -> None:
    """Two writes for a crowd; beside one that is under way only a crowd begins another; none is written twice."""
    submitted(writing, 2 * CROWD)
    await turns_of_the_loop()
    assert postgres.sizes == [CROWD, CROWD]
    submitted(writing, 3 * CROWD)
    await turns_of_the_loop()
    assert postgres.sizes == [CROWD, CROWD]
    postgres.answers[0].set_result(None)
    await turns_of_the_loop()
    assert postgres.sizes == [CROWD, CROWD, 3 * CROWD]
    submitted(writing, CROWD - 1)
    postgres.answers[1].set_result(None)
    await turns_of_the_loop()
    assert postgres.sizes == [CROWD, CROWD, 3 * CROWD]
    postgres.answers[2].set_result(None)
    await turns_of_the_loop()
    assert postgres.sizes[3:] == [CROWD - 1]
    await writing.stop()


@pytest.mark.parametrize("turns", [0, 1, 2, 10])
async def test_whoever_waits_when_it_stops_is_told(postgres: Postgres, writing: Committer, turns: int) -> None:
    """Whether a write had begun, was about to, or had not been thought of."""
    del postgres
    futures = submitted(writing, 3)
    await turns_of_the_loop(turns)
    await writing.stop()
    for future in futures:
        assert isinstance(future.exception(), LeaseLost)


async def test_whoever_waits_for_a_later_batch_when_it_stops_is_told(postgres: Postgres, writing: Committer) -> None:
    """A writer that has gone on with what had gathered answers for that."""
    submitted(writing, 4)
    await turns_of_the_loop()
    futures = submitted(writing, 3)
    postgres.answers[0].set_result(None)
    await turns_of_the_loop()
    assert postgres.sizes == [4, 3]
    await writing.stop()
    for future in futures:
        assert isinstance(future.exception(), LeaseLost)


async def test_a_writer_that_breaks_leaves_nobody_waiting(writing: Committer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not Postgres' refusal ends all writing: those of the batch, those queued, and those who come later."""

    class Broken(BaseException):
        pass

    breaks = asyncio.Event()

    async def broken(*_: Any, **__: Any) -> Any:
        await breaks.wait()
        raise Broken

    monkeypatch.setattr(committer, "until_answered", broken)
    futures = submitted(writing, 2)
    await turns_of_the_loop()
    futures += submitted(writing, 1)
    breaks.set()
    await turns_of_the_loop()
    futures += submitted(writing, 1)
    for future in futures:
        assert isinstance(future.exception(), Broken)
    await writing.stop()


@pytest.mark.scenario("RC14", "G2")
async def test_who_cannot_be_told_of_a_commit_stops_no_other(postgres: Postgres) -> None:
    """If what a commit means cannot be passed on, for want of memory or by a bug, it is answered, and others follow."""

    def refuse(flush: Flush) -> None:
        raise MemoryError(str(flush.saga_id))

    writing = Committer(cast("Database", postgres), Clock(), EngineHooks(), EngineSettings(), on_applied=refuse)
    writing.start()
    with structlog.testing.capture_logs() as logs:
        for written in range(2):
            futures = submitted(writing, 2)
            await turns_of_the_loop()
            postgres.answers[written].set_result(None)
            assert [await future for future in futures] == [APPLIED] * 2
    assert {entry["event"] for entry in logs} == {"engine.not_passed_on"}
    await writing.stop()


async def test_who_needs_what_is_locked_holds_nobody_up(postgres: Postgres, writing: Committer) -> None:
    """Whoever shares a batch with such flushes is written without them; they are written once the lock is gone."""
    postgres.locked = {flush(1).saga_id, flush(2).saga_id}
    futures = submitted(writing, 4)
    async with asyncio.timeout(PATIENCE_S):
        for free in (0, 3):
            while len(postgres.answers) < (1 if free == 0 else 2):
                await asyncio.sleep(0)
            postgres.answers[-1].set_result(None)
            assert await futures[free] is APPLIED
        assert not any(futures[number].done() for number in (1, 2))
        postgres.locked.clear()
        for number in (1, 2):
            while len(postgres.answers) < 2 + number:
                await asyncio.sleep(0.01)
            postgres.answers[-1].set_result(None)
            assert await futures[number] is APPLIED
    await writing.stop()


async def test_who_waits_for_a_lock_when_it_stops_is_told(postgres: Postgres, writing: Committer) -> None:
    """Nobody is left waiting for what will not be written."""
    postgres.locked = {flush(0).saga_id}
    (future,) = submitted(writing, 1)
    await turns_of_the_loop(20)
    await writing.stop()
    with pytest.raises(LeaseLost):
        await future


async def test_what_is_too_much_for_one_statement_is_written_in_parts(postgres: Postgres, writing: Committer) -> None:
    """A batch that Postgres cannot write in its time would be sent for ever; halves of halves go through."""
    postgres.in_time_at_most = 3
    futures = submitted(writing, 10)
    answered = 0
    while not all(future.done() for future in futures):
        await turns_of_the_loop()
        for answer in postgres.answers[answered:]:
            answer.set_result(None)
        answered = len(postgres.answers)
    assert [await future for future in futures] == [APPLIED] * 10
    assert postgres.sizes == [2, 3, 2, 3]
    await writing.stop()


async def test_what_postgres_refuses_fails_alone(postgres: Postgres, writing: Committer) -> None:
    """Whoever shares a batch with a flush that cannot be written is written without it; whose that is is told."""
    postgres.refused = {flush(2).saga_id}
    futures = submitted(writing, 4)
    async with asyncio.timeout(PATIENCE_S):
        while not all(future.done() for future in futures):
            await turns_of_the_loop()
            for answer in postgres.answers:
                if not answer.done():
                    answer.set_result(None)
    assert [futures[number].result() for number in (0, 1, 3)] == [APPLIED] * 3
    assert isinstance(futures[2].exception(), DataError)
    await writing.stop()
