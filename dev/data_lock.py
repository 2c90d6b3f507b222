"""The lock on the data directory of a stack: held by the stack itself, or by one tool at a time while none runs."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from dev import ports, stack_record
from dev.layout import Layout


class AlreadyRunningError(Exception):
    """A stack, or a tool, uses this data directory already."""


@contextmanager
def only_one(layout: Layout) -> Iterator[None]:
    """Hold the data directory: two on one would share a database server and stop it for each other."""
    layout.run.mkdir(parents=True, exist_ok=True)
    with (layout.run / "lock").open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise AlreadyRunningError(_who(layout)) from None
        yield


def _who(layout: Layout) -> str:
    try:
        stack_record.read(layout)
    except stack_record.NotRunningError:
        return (
            f"{layout.data} is in use: a stack starts or stops there, or another tool looks into it\n"
            "    wait until that is done, and try again"
        )
    return f"a stack runs on {layout.data} already\n    use it, or start a second one: {ports.beside(layout)}"
