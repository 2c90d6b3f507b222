"""The relay: sends what is in the outbox, key by key; it runs when it is nudged, and polls as well."""

import asyncio
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Final

from services.chassis.clock import Clock
from services.chassis.hooks import ChassisHooks
from services.chassis.loop import Loop
from services.chassis.messaging.delivery import ALARMS, AnswerCheck, Courier, Lease, Outcome
from services.chassis.messaging.marks import AnswerHandler, Marks
from services.chassis.messaging.outbox import Message
from services.chassis.messaging.queries import queries
from services.chassis.metrics import Metrics
from services.chassis.outbound.http import ServiceClient
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer

LEASE_S: Final = 10.0
POLL_S: Final = 0.5
IDLE_FACTOR: Final = 2
"""Polls are this many times rarer while they find nothing: only what another replica has left behind needs them."""
CONCURRENCY: Final = 32
PER_KEY: Final = 50
_MEASURED_EVERY_S: Final = 5.0


class Relay:
    """Leases keys, sends the messages of several keys at a time, and records the results in batches.

    `addresses`: a client for each service that messages go to. `answers`: handlers of answers, by message name.
    `answer_checks`: which answers settle a message, by message name; after any other answer it is sent again.
    `sealer` opens sealed bodies.
    """

    def __init__(  # noqa: PLR0913 - the composition root names each part once
        self,
        *,
        database: Database,
        clock: Clock,
        addresses: Mapping[str, ServiceClient],
        metrics: Metrics,
        answers: Mapping[str, AnswerHandler] | None = None,
        answer_checks: Mapping[str, AnswerCheck] | None = None,
        sealer: Sealer | None = None,
        hooks: ChassisHooks | None = None,
        lease_s: float = LEASE_S,
        poll_s: float = POLL_S,
    ) -> None:
        self._database = database
        self._clock = clock
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._hooks = hooks or ChassisHooks()
        self._courier = Courier(
            clock,
            addresses,
            sealer,
            self._hooks,
            stopping=lambda: self._stopping or self.loop.stopping,
            answer_checks=answer_checks or {},
        )
        metrics.expect_alarms(*ALARMS)
        self._marks = Marks(database=database, clock=clock, answers=answers or {}, metrics=metrics)
        self._lag_s = metrics.gauge("outbox_lag_seconds", "Age of the oldest message that waits to be sent.")
        self._dead = metrics.gauge("outbox_dead", "Messages that were refused and block their key.")
        self._measured_at = float("-inf")
        self._deliveries: set[asyncio.Task[None]] = set()
        self._finished: list[Outcome] = []
        self._marking: asyncio.Task[None] | None = None
        self._apart: list[Outcome] = []
        self._marking_apart: asyncio.Task[None] | None = None
        self._stopping = False
        self._saturated = False
        self.loop = Loop("outbox-relay", self._run_once, clock=clock, on_stop=self._drain)

    def nudge(self) -> None:
        """Run now: a transaction with messages was committed."""
        self.loop.nudge()

    async def run_until_idle(self) -> None:
        """Send everything that is due until nothing is; for tests that do not start the loop."""
        while True:
            await self._run_once()
            if not self._deliveries:
                return
            await self._until_marked()

    async def _run_once(self) -> float:
        self._stopping = False
        if self._clock.monotonic() - self._measured_at >= _MEASURED_EVERY_S:
            await self.measure()
        room = CONCURRENCY - len(self._deliveries)
        self._saturated = room <= 0
        if self._saturated:
            return self._poll_s  # the next delivery that ends nudges
        leases = await self._claim(room)
        if leases:
            messages = await self._read([lease.key for lease in leases])
            for lease in leases:
                task = asyncio.create_task(self._deliver(lease, messages.get(lease.key, [])), name=f"send:{lease.key}")
                self._deliveries.add(task)
                task.add_done_callback(self._delivered)
        if len(leases) == room:
            return 0
        return self._poll_s if leases else self._poll_s * IDLE_FACTOR

    async def measure(self) -> None:
        """Set the gauges: the age of the oldest message, and the number of dead letters."""
        self._measured_at = self._clock.monotonic()
        async with self._database.autocommit() as conn:
            (row,) = await conn.fetch(queries()["measure_outbox"], {"now": self._clock.sql_now()})
        self._lag_s.set(float(row["lag_s"]))
        self._dead.set(row["dead"])

    async def _claim(self, limit: int) -> list[Lease]:
        until = self._clock.monotonic() + self._lease_s  # counted from before the claim is sent
        async with self._database.autocommit() as conn:
            rows = await conn.fetch(
                queries()["claim_keys"],
                {"limit": limit, "lease_s": self._lease_s, "now": self._clock.sql_now()},
            )
        return [Lease(row["key"], row["epoch"], row["attempts"], until) for row in rows]

    async def _read(self, keys: Sequence[str]) -> dict[str, list[Message]]:
        async with self._database.autocommit() as conn:
            rows = await conn.fetch(
                queries()["read_messages"],
                {"keys": list(keys), "per_key": PER_KEY, "now": self._clock.sql_now()},
            )
        messages = [
            Message(
                id=row["id"],
                key=row["key"],
                service=row["service"],
                method=row["method"],
                path=row["path"],
                name=row["name"],
                body=row["body"],
                settled_by=tuple(row["settled_by"]),
                acting_user=row["acting_user"],
                traceparent=row["traceparent"],
            )
            for row in rows
        ]
        return {key: list(group) for key, group in groupby(messages, key=lambda message: message.key)}

    async def _deliver(self, lease: Lease, messages: Sequence[Message]) -> None:
        self._hooks.message_picked(lease.key)
        outcome = await self._courier.deliver(lease, messages)
        self._finished.append(outcome)  # looked up after the wait: the list is replaced meanwhile
        if self._marking is None:
            self._marking = asyncio.create_task(self._mark(), name="outbox-mark")

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        if self._saturated:
            self.loop.nudge()

    async def _mark(self) -> None:
        """Record all outcomes there are, and those that come while it does."""
        try:
            while self._finished:
                batch, self._finished = self._finished, []
                marked = await self._marks.mark_free(batch)
                if marked.due:
                    self.loop.nudge()
                self._apart += marked.left
                if self._apart and self._marking_apart is None:
                    self._marking_apart = asyncio.create_task(self._mark_apart(), name="outbox-mark-apart")
        finally:
            self._marking = None

    async def _mark_apart(self) -> None:
        """Record the outcomes of locked keys one by one, apart, so that no other outcome waits for them."""
        try:
            while self._apart:
                if await self._marks.mark(self._apart.pop(0)):
                    self.loop.nudge()
        finally:
            self._marking_apart = None

    async def _drain(self) -> None:
        """Send nothing more, let the sends under way end, and record their outcomes."""
        self._stopping = True
        await self._until_marked()

    async def _until_marked(self) -> None:
        """Wait until no send is under way and every outcome is recorded."""
        while under_way := [task for task in (*self._deliveries, self._marking, self._marking_apart) if task]:
            await asyncio.wait(under_way)
