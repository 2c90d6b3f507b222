"""Recording the results of sending: for many keys in one transaction, each protected by the lease of its key.

The handlers of answers lock rows of the service. They run first, and the outbox keys are locked last: every transaction
of a service takes its locks in this order. If a key of a handled answer turns out to be locked or leased by somebody
else, the transaction is rolled back and repeated without it. A locked key never delays the others of its batch.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.messaging.delivery import MISCONFIGURED_PAUSE_S, Alarm, Outcome, backoff_s
from services.chassis.messaging.outbox import Message
from services.chassis.messaging.queries import queries
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import Answer
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.postgres.errors import is_transient

AnswerHandler = Callable[[Connection, Message, Answer], Awaitable[None]]
"""Handles the answer to a message in the transaction that marks it as delivered; it must not enqueue messages."""

_PAUSE_S: Final = 0.1


class NotHeld(Exception):
    """Some keys are locked by a writer, or leased by another relay by now; `held` has the ones that we hold."""

    def __init__(self, held: frozenset[str]) -> None:
        super().__init__(f"{len(held)} keys are held")
        self.held = held


class Marked(NamedTuple):
    """The result of marking: `due` if a released key has more to send now; `left` are outcomes of locked keys."""

    due: bool
    left: Sequence[Outcome] = ()


class Marks:
    """Records outcomes: a batch at once, and those of locked keys one by one."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        answers: Mapping[str, AnswerHandler],
        metrics: Metrics,
    ) -> None:
        self._database = database
        self._clock = clock
        self._answers = answers
        self._metrics = metrics
        self._sent = metrics.counter("outbox_messages_total", "Messages sent, by what became of them.", ("outcome",))
        self._log = get_logger("chassis.relay")

    async def mark_free(self, outcomes: Sequence[Outcome]) -> Marked:
        """Record these outcomes without waiting for locks; those of keys that somebody else holds are left."""
        left: list[Outcome] = []
        due = await self._mark(outcomes, left)
        return Marked(due, left)

    async def mark(self, outcome: Outcome) -> bool:
        """Record one outcome, and wait for the lock of its key; say whether the key has more to send now."""
        return await self._mark([outcome], None)

    async def _mark(self, outcomes: Sequence[Outcome], left: list[Outcome] | None) -> bool:
        """Record outcomes as long as their leases last; a message whose outcome is not recorded is sent again.

        With `left`, outcomes of locked keys are appended to it; without it, their locks are waited for.
        """
        batch = sorted(outcomes, key=lambda outcome: outcome.lease.key)
        was_set_back = False
        while batch:
            try:
                due, batch = await self._write(batch, left)
            except NotHeld as found:
                batch = self._held(batch, found.held, left)
            except Exception as error:  # noqa: BLE001 - sorted out below
                if is_transient(error):
                    self._log.warning("outbox.mark_failed", error=type(error).__name__, keys=len(batch))
                    await self._clock.sleep(_PAUSE_S)
                    now = self._clock.monotonic()
                    batch = [outcome for outcome in batch if outcome.lease.until > now]
                elif len(batch) > 1:
                    return any([await self._mark([outcome], left) for outcome in batch])
                elif not was_set_back:
                    batch, was_set_back = [self._set_back(batch[0], error)], True
                else:
                    self._log.exception("outbox.mark_given_up", key=batch[0].lease.key)
                    return False
            else:
                self._report(batch)
                return due
        return False

    def _set_back(self, outcome: Outcome, error: Exception) -> Outcome:
        """Replace an outcome that cannot be recorded by one that has its key tried again later, with an alarm."""
        self._log.error("outbox.mark_failed", key=outcome.lease.key, exc_info=error)
        attempt = outcome.lease.attempts + 1
        return Outcome(
            outcome.lease,
            attempts=attempt,
            pause_s=backoff_s(attempt, MISCONFIGURED_PAUSE_S),
            alarm=Alarm("outbox-mark-failed", type(error).__name__, outcome.first_id),
        )

    def _held(self, batch: Sequence[Outcome], held: Collection[str], left: list[Outcome] | None) -> list[Outcome]:
        """Return the outcomes whose keys we hold. The others go to `left`; without it, they are given up."""
        missing = [outcome for outcome in batch if outcome.lease.key not in held]
        if missing and left is None:
            self._log.warning("outbox.lease_lost", keys=len(missing), first=missing[0].lease.key)
        elif left is not None:
            left += missing
        return [outcome for outcome in batch if outcome.lease.key in held]

    async def _write(self, batch: Sequence[Outcome], left: list[Outcome] | None) -> tuple[bool, list[Outcome]]:
        """Record outcomes in one transaction; return whether a key has more to send now, and what was recorded."""
        now = self._clock.sql_now()
        async with self._database.begin() as conn:
            answered = await self._handle_answers(conn, batch)
            held = await self._hold(conn, batch, waits=left is None)
            if answered - held:
                raise NotHeld(held)
            ours = [outcome for outcome in batch if outcome.lease.key in held]
            await self._audit(conn, ours, now)
            await self._mark_dead(conn, [outcome for outcome in ours if outcome.dead is not None], now)
            due = await self._release(conn, ours, now)
        self._held(batch, held, left)
        return due, ours

    async def _handle_answers(self, conn: Connection, batch: Sequence[Outcome]) -> frozenset[str]:
        """Call the handlers of the answers; return the keys for which one was called."""
        keys = set()
        for outcome in batch:
            for message, answer in outcome.delivered:
                handler = self._answers.get(message.name)
                if handler is not None:
                    await handler(conn, message, answer)
                    keys.add(message.key)
        return frozenset(keys)

    async def _hold(self, conn: Connection, batch: Sequence[Outcome], *, waits: bool) -> frozenset[str]:
        rows = await conn.fetch(
            queries()["hold" if waits else "hold_free"],
            {
                "keys": [outcome.lease.key for outcome in batch],
                "epochs": [outcome.lease.epoch for outcome in batch],
            },
        )
        return frozenset(row["key"] for row in rows)

    async def _mark_dead(self, conn: Connection, refused: Sequence[Outcome], now: datetime | None) -> None:
        dead = [outcome.dead for outcome in refused if outcome.dead is not None]
        if not dead:
            return
        await conn.fetch(
            queries()["mark_dead"],
            {
                "ids": [d.message.id for d in dead],
                "codes": [d.code for d in dead],
                "details": [d.detail for d in dead],
                "now": now,
            },
        )

    async def _audit(self, conn: Connection, outcomes: Sequence[Outcome], now: datetime | None) -> None:
        """Add the audit rows of alarms; a message that keeps failing leaves one row per kind of alarm."""
        for outcome in outcomes:
            alarm = outcome.alarm
            if alarm is None:
                continue
            leave = audit.alarm_once if outcome.attempts > 1 else audit.alarm
            details = {"message_id": alarm.message_id}
            await leave(conn, alarm.kind, subject_id=outcome.lease.key, reason=alarm.reason, details=details, now=now)

    async def _release(self, conn: Connection, outcomes: Sequence[Outcome], now: datetime | None) -> bool:
        """Delete the delivered messages, and release the keys that have no dead letter; True if one of them is due."""
        free = [outcome for outcome in outcomes if outcome.dead is None]
        rows = await conn.fetch(
            queries()["release"],
            {
                "delivered": [message.id for outcome in outcomes for message, _ in outcome.delivered],
                "keys": [outcome.lease.key for outcome in free],
                "attempts": [outcome.attempts for outcome in free],
                "pauses": [float(outcome.pause_s) for outcome in free],
                "now": now,
            },
        )
        return any(row["due"] for row in rows)

    def _report(self, batch: Sequence[Outcome]) -> None:
        """Count what is committed, and sound its alarms."""
        for outcome in batch:
            self._sent.labels("delivered").inc(len(outcome.delivered))
            if outcome.attempts:
                self._sent.labels("unknown").inc()
            if outcome.dead is not None:
                self._sent.labels("refused").inc()
            if outcome.alarm is not None:
                self._metrics.alarm(outcome.alarm.kind, key=outcome.lease.key, reason=outcome.alarm.reason)
