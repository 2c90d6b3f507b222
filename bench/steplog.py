"""The step log: every execution of a step's body writes a line, whatever the contender's own records say.

The standard library only: the peers' processes, which run in an environment of their own, write it too.
"""

import os
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

NO_KEY = "-"


class StepLog:
    """Appends; a line is one write, so that a killed process leaves whole lines."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def add(self, order: str, step: str, key: str = NO_KEY) -> None:
        """Note that the body of `step` runs now; `key` is the idempotency key it runs under, if there is one."""
        os.write(self._file, f"{order} {step} {os.getpid()} {key}\n".encode())


@dataclass(frozen=True, slots=True)
class Executions:
    """What was executed for some orders: how many of them, what ran again, and what ran out of order."""

    orders: int
    repeated: int
    repeated_steps: dict[str, int]
    other_key: int
    wrong_order: int


def read(path: Path, prefix: str, expected: tuple[str, ...]) -> Executions:
    """Compare what the orders with this prefix did with what they should have done, in this order, once."""
    ran: dict[str, list[str]] = defaultdict(list)
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for line in path.read_text().splitlines():
        order, step, _, key = line.split()
        if order.startswith(prefix):
            ran[order].append(step)
            keys[order, step].add(key)
    again: Counter[str] = Counter()
    for steps in ran.values():
        for step, times in Counter(steps).items():
            if times > 1:
                again[step] += times - 1
    return Executions(
        orders=len(ran),
        repeated=sum(again.values()),
        repeated_steps=dict(again),
        other_key=sum(len(found) - 1 for found in keys.values()),
        wrong_order=sum(tuple(dict.fromkeys(steps)) != expected for steps in ran.values()),
    )
