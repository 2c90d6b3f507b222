"""Scripted faults of the outside world, seeded so that a run can be repeated."""

import random
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FaultKind = Literal["latency", "status", "lost_answer", "lands_late", "webhook_lost", "webhook_duplicated"]
WEBHOOK_KINDS: frozenset[str] = frozenset({"webhook_lost", "webhook_duplicated"})


class Fault(BaseModel):
    """What goes wrong, with which calls, how often; durations in seconds.

    `path` is a prefix of the call's path (for a webhook: of its event type), `subject` a prefix of the order it is
    about. The first `after` matching calls are spared, then `times` (None: all) are hit, each with `probability`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: FaultKind
    method: str | None = None
    path: str | None = None
    subject: str | None = None
    after: Annotated[int, Field(ge=0)] = 0
    times: Annotated[int, Field(ge=1)] | None = 1
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0
    latency_s: Annotated[float, Field(ge=0, le=3600)] = 0.0
    status: Annotated[int, Field(ge=200, le=599)] = 503
    retry_after_s: int | None = None
    body: str | None = None
    content_type: str = "application/problem+json"
    location: str | None = None
    size_bytes: Annotated[int, Field(ge=0, le=100_000_000)] = 0

    def matches(self, *, method: str, path: str, subject: str | None) -> bool:
        """Tell whether a call or webhook is one of those this fault is about."""
        return (
            (self.method is None or self.method.upper() == method)
            and (self.path is None or path.startswith(self.path))
            and (self.subject is None or (subject or "").startswith(self.subject))
        )


class Script(BaseModel):
    """`POST /_control/faults`: further faults; a `seed` starts the dice anew."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int | None = None
    faults: tuple[Fault, ...]


class FaultPlan:
    """The faults scripted so far; the first that matches and is due hits."""

    def __init__(self, seed: int = 0) -> None:
        """Start with no fault and dice seeded by `seed`."""
        self._dice = random.Random(seed)  # noqa: S311 - repeatable dice, no secret
        self._rules: list[_Rule] = []

    def add(self, script: Script) -> None:
        """Add the faults of `script` behind those already scripted."""
        if script.seed is not None:
            self._dice.seed(script.seed)
        self._rules.extend(_Rule(fault) for fault in script.faults)

    def clear(self) -> None:
        """Forget every fault."""
        self._rules.clear()

    def take(self, *, method: str, path: str, subject: str | None, webhook: bool = False) -> Fault | None:
        """Return the fault that hits this call (or webhook), and count it."""
        for rule in self._rules:
            if (rule.fault.kind in WEBHOOK_KINDS) is webhook and rule.hit(self._dice, method, path, subject):
                return rule.fault
        return None

    def view(self) -> list[dict[str, object]]:
        """Return the faults with how many calls each has seen and hit."""
        return [
            {**rule.fault.model_dump(exclude_defaults=True), "seen": rule.seen, "hits": rule.hits}
            for rule in self._rules
        ]


class _Rule:
    """A fault and its counters."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.seen = 0
        self.hits = 0

    def hit(self, dice: random.Random, method: str, path: str, subject: str | None) -> bool:
        fault = self.fault
        if not fault.matches(method=method, path=path, subject=subject):
            return False
        self.seen += 1
        if self.seen <= fault.after or (fault.times is not None and self.hits >= fault.times):
            return False
        if fault.probability < 1 and dice.random() >= fault.probability:
            return False
        self.hits += 1
        return True
