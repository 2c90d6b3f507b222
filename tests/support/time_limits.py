"""The end of a test that takes too long: uvloop swallows what the handler of a signal raises, but it can be stopped."""

import asyncio
import signal
from types import FrameType

import pytest

AGAIN_S = 5.0
"""How long after a loop was told to stop its callback is broken off: it does not return to the loop."""


def start_timer(item: pytest.Item, seconds: float) -> None:
    """Fail the test after so many seconds; `item.cancel_timeout` ends the timer, which pytest-timeout calls."""
    stopped = False

    def expired(_number: int, _frame: FrameType | None) -> None:
        nonlocal stopped
        loop = asyncio._get_running_loop()
        if loop is None or stopped:
            pytest.fail(f"Timeout (>{seconds:.1f}s)")
        for task in asyncio.all_tasks(loop):
            task.print_stack()
        loop.stop()  # whoever waits for the test's task gets a RuntimeError
        stopped = True

    def cancel() -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)

    item.cancel_timeout = cancel  # type: ignore[attr-defined]
    signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
