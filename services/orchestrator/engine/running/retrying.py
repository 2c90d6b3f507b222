"""Repeating a database operation until Postgres answers."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from services.chassis.clock import Clock
from services.chassis.postgres.errors import is_transient

T = TypeVar("T")
RETRY_S = 0.05
RETRY_MAX_S = 1.0


async def until_answered(ask: Callable[[], Awaitable[T]], clock: Clock, on_retry: Callable[[Exception], None]) -> T:
    """Run `ask`, and repeat it with growing pauses while it fails by a transient error of the database.

    A failed attempt may have taken effect, so `ask` must be idempotent.
    """
    pause_s = RETRY_S
    while True:
        try:
            return await ask()
        except Exception as error:
            if not is_transient(error):
                raise
            on_retry(error)
        await clock.sleep(pause_s)
        pause_s = min(RETRY_MAX_S, pause_s * 2)
