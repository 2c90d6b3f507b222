"""Settles the signals of sagas that wait for a called saga, once that has ended: at least once, on any replica."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.orchestrator.engine.model.calls import ChildEnd
from services.orchestrator.engine.model.records import Saga
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.store import awaiting

ENDS_MAX: Final = 50
"""How many ends are read at once, with their outputs; if there are more, the next run follows at once."""
SETTLED_MAX: Final = 500
EXPECTED_MAX: Final = 20_000
"""How many called sagas are remembered here; the ends of others are found by polling."""

SettleChild = Callable[[UUID, ChildEnd], Awaitable[None]]
"""Settles the signal of one waiting saga with the end; does nothing if it waits no longer, or does not exist."""


class ChildEnds:
    """Looks for ended sagas that others wait for: every few seconds, and when such a saga ends in this process.

    The signals are settled first, and the waits deleted afterwards. After a crash in between, the signals are settled
    again, which changes nothing.
    """

    def __init__(self, *, database: Database, clock: Clock, settle: SettleChild, settings: EngineSettings) -> None:
        """Take the database, and the operation that settles the signal of one waiting saga."""
        self._database = database
        self._settle = settle
        self._pause_s = settings.ends_poll_s
        self._expected: OrderedDict[UUID, None] = OrderedDict()
        self._log = get_logger("engine.child_ends")
        self.loop = Loop("engine child ends", self.run_once, clock=clock)

    def expect(self, saga_ids: Iterable[UUID]) -> None:
        """Remember that these sagas were called; they may have ended already."""
        self._expected.update(dict.fromkeys(saga_ids))
        while len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)
        self.loop.nudge()

    def ended(self, saga_id: UUID, saga: Saga | None) -> None:
        """Run soon if a saga that has ended in this process is awaited; `saga` is its row as the last claim read it."""
        if saga_id in self._expected or (saga is not None and saga.awaited):
            self.loop.nudge()

    async def run_once(self) -> float:
        """Settle one batch; return the seconds until the next run."""
        is_full, progress = await self._look()
        return 0.0 if is_full and progress else self._pause_s

    async def deliver(self) -> bool:
        """Settle one batch; say whether anything was written."""
        _, progress = await self._look()
        return progress

    async def _look(self) -> tuple[bool, bool]:
        """Settle one batch; say whether there may be more, and whether anything was written."""
        async with self._database.autocommit() as conn:
            ends = await awaiting.ended(conn, limit=ENDS_MAX)
            waiting = await awaiting.of_sagas(conn, ends, limit=SETTLED_MAX) if ends else []
        if not ends:
            return False, False
        settled = await self._settle_waiting(ends, waiting)
        async with self._database.begin() as conn:
            written = await awaiting.forget(conn, ends, settled)
        for saga_id in ends:
            self._expected.pop(saga_id, None)
        return len(ends) == ENDS_MAX or len(waiting) == SETTLED_MAX, written > 0

    async def _settle_waiting(
        self, ends: Mapping[UUID, ChildEnd], waiting: Sequence[awaiting.Awaiting]
    ) -> list[awaiting.Awaiting]:
        """Settle the signals of waiting sagas; return the waits that are over."""
        answers = await asyncio.gather(
            *(self._settle(parent_id, ends[child_id]) for child_id, parent_id in waiting), return_exceptions=True
        )
        settled = []
        for place, answer in zip(waiting, answers, strict=True):
            if answer is None:
                settled.append(place)
            elif isinstance(answer, Exception):
                self._log.warning(
                    "engine.end_not_told", saga_id=str(place[0]), parent=str(place[1]), error=repr(answer)[:200]
                )
            else:
                raise answer
        return settled
