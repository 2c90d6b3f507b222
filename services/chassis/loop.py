"""A background task that runs periodically, and at once when it is nudged."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from services.chassis import ids
from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.postgres.errors import is_transient

_BACKOFF_S = 0.1
_BACKOFF_MAX_S = 5.0
_REASON_MAX = 300


class Loop:
    """Runs `run_once`, which returns the seconds until its next run (0: at once; infinity: when nudged).

    An exception is logged and followed by a growing pause; it never ends the loop.
    """

    def __init__(
        self,
        name: str,
        run_once: Callable[[], Awaitable[float]],
        *,
        clock: Clock,
        on_stop: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self.name = name
        self._run_once = run_once
        self._clock = clock
        self._on_stop = on_stop
        self._nudged = asyncio.Event()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._failures = 0
        self._log = get_logger("chassis.loop")

    def nudge(self) -> None:
        """Ask for a run now. Nudges before that run count as one; a nudge during a run leads to another run."""
        self._nudged.set()

    @property
    def running(self) -> bool:
        return self._task is not None and not self._task.done()

    @property
    def stopping(self) -> bool:
        """Whether `stop` was called and the last run has not ended yet."""
        return self.running and self._stopping.is_set()

    def start(self) -> None:
        if self.running:
            raise RuntimeError(f"loop {self.name} runs already")
        self._stopping.clear()
        self._task = asyncio.create_task(self._run(), name=f"loop:{self.name}")

    async def stop(self) -> None:
        """Wait for the run in progress and for `on_stop`, and start no other run."""
        self._stopping.set()
        self._nudged.set()
        if self._task is not None:
            await self._task
            self._task = None
        if self._on_stop is not None:
            await self._on_stop()

    async def run_once(self) -> float:
        """Run once, here and now; exceptions are the caller's."""
        return await self._run_once()

    async def _run(self) -> None:
        while not self._stopping.is_set():
            self._nudged.clear()
            pause_s = await self._guarded()
            if not self._stopping.is_set():
                await self._clock.wait(self._nudged, pause_s)

    async def _guarded(self) -> float:
        try:
            pause_s = await self._run_once()
        except Exception as error:  # noqa: BLE001 - a loop outlives its failures
            self._failures += 1
            pause_s = min(_BACKOFF_S * 2 ** min(self._failures, 10), _BACKOFF_MAX_S) * ids.jitter(0.5, 1.0)
            self._log_failure(error, pause_s)
            # A nudge must not turn a failing loop into a hot one.
            await self._clock.wait(self._stopping, pause_s)
            return 0
        self._failures = 0
        return pause_s

    def _log_failure(self, error: Exception, pause_s: float) -> None:
        """Log a failed run; with a traceback only if it may be a bug, and not if the database is away."""
        what: dict[str, Any] = {"error": type(error).__name__, "reason": str(error)[:_REASON_MAX]}
        self._log.warning(
            "loop.failed",
            loop=self.name,
            failures=self._failures,
            retry_in_s=round(pause_s, 3),
            **(what if is_transient(error) else {"exc_info": error}),
        )
