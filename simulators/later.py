"""Work that happens after an answer was given: settlements, webhooks and their retries, late effects."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from simulators.clock import Clock

_log = logging.getLogger(__name__)

Work = Callable[[], Awaitable[None]]


class Later:
    """Runs work after a delay in its own task; tests may hurry it, a shutdown ends it."""

    def __init__(self, clock: Clock) -> None:
        """Measure delays by `clock`."""
        self._clock = clock
        self._jobs: set[_Job] = set()
        self._settling = 0

    def after(self, delay_s: float, work: Work, *, again: bool = False) -> None:
        """Run `work` in `delay_s` seconds; `again` marks the retry of something that has failed before."""
        job = _Job(again=again, born=self._settling)
        self._jobs.add(job)
        job.task = asyncio.get_running_loop().create_task(self._run(job, delay_s, work))
        job.task.add_done_callback(lambda _task: self._jobs.discard(job))

    async def settle(self) -> None:
        """Run everything that waits, now, and what follows from it; what fails again is left for its next time."""
        self._settling += 1
        round_number = self._settling
        while jobs := [job for job in self._jobs if not (job.again and job.born >= round_number)]:
            for job in jobs:
                job.hurry.set()
            await asyncio.wait([job.task for job in jobs if job.task is not None])
            await asyncio.sleep(0)  # lets the callbacks take the finished jobs out

    async def close(self) -> None:
        """Stop whatever waits or runs."""
        tasks = [job.task for job in self._jobs if job.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, job: "_Job", delay_s: float, work: Work) -> None:
        if delay_s > 0:
            await self._wait(job, delay_s)
        try:
            await work()
        except Exception:  # noqa: BLE001 - one piece of work that fails must not end the others
            _log.exception("work after an answer failed")

    async def _wait(self, job: "_Job", delay_s: float) -> None:
        async def slept() -> None:
            await self._clock.sleep(delay_s)

        async def hurried() -> None:
            await job.hurry.wait()

        waits = [asyncio.ensure_future(slept()), asyncio.ensure_future(hurried())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class _Job:
    """One piece of work; identity is what tells two apart."""

    def __init__(self, *, again: bool, born: int) -> None:
        self.again = again
        self.born = born
        self.hurry = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
