"""Keys that work claims with its first write: no other content takes effect, whatever becomes of the answer."""

import pytest

from services.chassis.clock import Clock
from services.chassis.errors import KeyReused, Unavailable
from services.chassis.inbound.answering import answer_without_transaction
from services.chassis.inbound.idempotency import IdempotencyKey, StoredAnswer, claiming, purge
from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from tests.support.clock import ManualClock

KEY = IdempotencyKey("service:x", "POST /y", "k", "one")
OTHER = IdempotencyKey("service:x", "POST /y", "k", "other")
EFFECT = Statement.of(
    "insert into audit (at, action, subject_id, actor, details) values (now(), 'did', :of, 'x', '{}')"
)
STORED = Statement.of("select status, headers::text as headers from idempotency")


class Work:
    """Does something for the content of a key, in a transaction of its own, and then answers, or fails to."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.database = database
        self.clock = clock
        self.fails = False

    async def ask(self, key: IdempotencyKey) -> tuple[int, bool]:
        """Send a request; return its status, and whether that is a stored answer."""

        async def work() -> StoredAnswer:
            async with self.database.begin() as conn:
                await claiming(key, self.clock)(conn)
                await conn.fetch(EFFECT, {"of": key.fingerprint})
            if self.fails:
                raise Unavailable
            return StoredAnswer(201, "{}")

        response = await answer_without_transaction(self.database, self.clock, key, work)
        return response.status_code, "Idempotent-Replayed" in response.headers

    async def effects(self) -> list[str]:
        async with self.database.autocommit() as conn:
            return [row["subject_id"] for row in await conn.fetch(Statement.of("select subject_id from audit"))]


@pytest.fixture
def work(database: Database, clock: ManualClock) -> Work:
    return Work(database, clock)


@pytest.mark.scenario("I2")
async def test_a_claimed_key_is_kept_from_another_content(work: Work) -> None:
    """Its work may have taken effect though it has no answer: the same content does it again, another one nothing."""
    work.fails = True
    with pytest.raises(Unavailable):
        await work.ask(KEY)
    work.fails = False
    with pytest.raises(KeyReused):
        await work.ask(OTHER)
    assert await work.ask(KEY) == (201, False)
    assert await work.effects() == ["one", "one"]
    assert await work.ask(KEY) == (201, True)
    with pytest.raises(KeyReused):
        await work.ask(OTHER)
    assert await work.effects() == ["one", "one"]


@pytest.mark.scenario("I2")
async def test_a_key_found_free_may_be_taken_by_the_first_write(
    work: Work, database: Database, clock: ManualClock
) -> None:
    """Who has looked before another content claimed the key finds it taken when it writes, answered or not."""

    async def claim(key: IdempotencyKey) -> None:
        async with database.begin() as conn:
            await claiming(key, clock)(conn)

    await claim(KEY)
    with pytest.raises(KeyReused):
        await claim(OTHER)
    await claim(KEY)
    assert await work.ask(KEY) == (201, False)
    with pytest.raises(KeyReused):
        await claim(OTHER)
    assert await work.ask(KEY) == (201, True)


async def test_a_claim_goes_with_its_transaction(work: Work, database: Database, clock: ManualClock) -> None:
    """What is rolled back has claimed nothing."""
    with pytest.raises(ZeroDivisionError):
        async with database.begin() as conn:
            await claiming(KEY, clock)(conn)
            raise ZeroDivisionError
    assert await work.ask(OTHER) == (201, False)


async def test_who_does_not_know_of_claims_is_told_to_come_again(
    work: Work, database: Database, clock: ManualClock
) -> None:
    """What stands under a claimed key is the answer of a request that is still running."""
    del work
    async with database.begin() as conn:
        await claiming(KEY, clock)(conn)
    async with database.autocommit() as conn:
        row = await conn.first(STORED)
    assert row is not None
    assert (row["status"], row["headers"]) == (409, '{"Retry-After": "1"}')


async def test_a_claim_is_forgotten_after_a_week(work: Work, database: Database, clock: ManualClock) -> None:
    """Like an answer: then the key is new, for whatever content."""
    work.fails = True
    with pytest.raises(Unavailable):
        await work.ask(KEY)
    work.fails = False
    clock.advance(7 * 86_400 + 1)
    assert await work.ask(OTHER) == (201, False)
    clock.advance(7 * 86_400 + 1)
    async with database.begin() as conn:
        assert await purge(conn, now=clock.now()) == 1


async def test_a_claim_holds_across_a_change_of_secrets(work: Work) -> None:
    """A request whose fingerprint was taken with an older secret is the same content."""
    work.fails = True
    with pytest.raises(Unavailable):
        await work.ask(KEY)
    work.fails = False
    newer = IdempotencyKey("service:x", "POST /y", "k", "newer", former=("one",))
    assert await work.ask(newer) == (201, False)
    assert await work.ask(newer) == (201, True)
