"""Histories of concurrent operations, and whether they are linearizable: Wing and Gong's search, with a memo.

A history is linearizable if each operation can be given one moment between its call and its answer so that a model,
which knows no concurrency, gives exactly these answers in the order of these moments. An operation without an answer
may have happened at any moment after its call, or never.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from typing import Any, TypeVar

UNKNOWN = "unknown"
"""The answer of an operation that was cut off."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation:
    """What one client has done to one object: called at `begin`, answered at `end` (never: infinity)."""

    client: str
    name: str
    argument: Any
    answer: Any
    begin: float
    end: float


State = Hashable
Model = Callable[[Any, Operation], Iterable[State]]
"""Give the states in which an operation with this answer may leave an object; none if it cannot have this answer."""


@dataclass(slots=True)
class History:
    """Records operations by their object, on a clock that ticks with every call and answer."""

    operations: dict[str, list[Operation]] = field(default_factory=lambda: defaultdict(list))
    _ticks: "count[int]" = field(default_factory=count)

    async def record(
        self,
        of: str,
        client: str,
        name: str,
        argument: Any,
        call: Callable[[], Awaitable[T]],
        seen: Callable[[T], Hashable] = str,
        lost: tuple[type[BaseException], ...] = (),
    ) -> T | None:
        """Do an operation and note what was seen of its answer; `lost` is what leaves its outcome unknown."""
        begin = next(self._ticks)
        try:
            answer = await call()
        except lost:
            self.operations[of].append(Operation(client, name, argument, UNKNOWN, begin, inf))
            return None
        self.operations[of].append(Operation(client, name, argument, seen(answer), begin, next(self._ticks)))
        return answer

    def violations(self, model: Model, initial: State) -> Mapping[str, Sequence[Operation]]:
        """Give the objects whose histories are not linearizable, with these."""
        return {
            of: sorted(operations, key=lambda one: one.begin)
            for of, operations in self.operations.items()
            if not linearizable(operations, model, initial)
        }


def linearizable(operations: Sequence[Operation], model: Model, initial: State) -> bool:
    """Search for an order of the operations of one object that the model explains."""
    answered = sum(1 << index for index, one in enumerate(operations) if one.end < inf)
    waiting: list[tuple[int, State]] = [(0, initial)]
    seen: set[tuple[int, State]] = set()
    while waiting:
        done, state = place = waiting.pop()
        if done & answered == answered:
            return True
        if place in seen:
            continue
        seen.add(place)
        left = [(index, one) for index, one in enumerate(operations) if not done >> index & 1]
        first_end = min(one.end for _, one in left)
        waiting += [
            (done | 1 << index, after)
            for index, one in left
            if one.begin < first_end  # nothing that is left has ended before this one was called
            for after in model(state, one)
        ]
    return False
