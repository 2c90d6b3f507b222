"""The checker of histories accepts what can be put in order, and nothing else."""

from collections.abc import Iterable
from math import inf

import pytest

from tests.support.histories import UNKNOWN, History, Operation, linearizable


def register(state: int, one: Operation) -> Iterable[int]:
    """Write a value, read it."""
    if one.name == "write":
        return [one.argument]
    return [state] if one.answer in {state, UNKNOWN} else []


def write(value: int, begin: float, end: float) -> Operation:
    return Operation("a", "write", value, "ok" if end < inf else UNKNOWN, begin, end)


def read(value: int, begin: float, end: float) -> Operation:
    return Operation("b", "read", None, value, begin, end)


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [write(1, 0, 1), read(1, 2, 3)],
        [write(1, 0, 10), read(0, 1, 2), read(1, 3, 4)],
        [write(1, 0, 10), write(2, 1, 9), read(2, 2, 3), read(1, 4, 5)],
        [write(1, 0, inf), read(0, 1, 2), read(1, 3, 4)],
        [write(1, 0, inf), read(0, 1, 2), read(0, 3, 4)],
        [read(1, 0, 9), write(1, 1, 8)],
    ],
)
def test_what_has_an_order_is_accepted(operations: list[Operation]) -> None:
    """Sequential, overlapping and unanswered operations that some order explains are linearizable."""
    assert linearizable(operations, register, 0)


@pytest.mark.parametrize(
    "operations",
    [
        [read(1, 0, 1)],
        [write(1, 0, 1), read(0, 2, 3)],
        [write(1, 0, 10), read(1, 1, 2), read(0, 3, 4)],
        [write(1, 0, 1), write(2, 2, 3), read(2, 4, 5), read(1, 6, 7)],
        [write(1, 5, inf), read(1, 1, 2)],
        [write(1, 0, inf), read(1, 1, 2), read(0, 3, 4)],
        [write(1, 0, 1), read(0, 0.5, 2), read(1, 0.6, 0.7), read(0, 0.8, 0.9)],
    ],
)
def test_what_has_no_order_is_refused(operations: list[Operation]) -> None:
    """A read of nothing, a stale read, a value that goes back, one that is seen before its write: refused."""
    assert not linearizable(operations, register, 0)


def test_a_long_history_is_decided() -> None:
    """Two hundred overlapping writes and reads of the last one are decided: what was tried is not tried again."""
    operations = [write(number % 2, number, number + 5) for number in range(100)]
    operations += [read(number % 2, number + 4.5, number + 6.5) for number in range(100)]
    assert linearizable(operations, register, 0)
    assert not linearizable([*operations, read(7, 500, 501)], register, 0)


async def test_a_history_notes_what_was_cut_off() -> None:
    """An operation that raises what leaves its outcome unknown has no end; another object is another history."""
    history = History()

    async def broken() -> str:
        raise ConnectionError

    async def fine() -> str:
        return "ok"

    assert await history.record("x", "a", "write", 1, broken, lost=(ConnectionError,)) is None
    assert await history.record("y", "a", "write", 1, fine) == "ok"
    (lost,), (kept,) = history.operations["x"], history.operations["y"]
    assert (lost.answer, lost.end) == (UNKNOWN, inf)
    assert lost.begin < kept.begin < kept.end
    assert not history.violations(register, 0)
