"""When a failed attempt is tried again: a pure policy."""

from dataclasses import dataclass
from math import isfinite
from typing import Final

PAUSE_MAX_S: Final = 366 * 86_400.0
FACTOR_MAX: Final = 1_000.0
JITTER_MAX: Final = 10.0
"""With these no pause is too long for a moment that can be written, however many attempts there were."""


class Interrupted(Exception):
    """The replica stopped during the attempt, whose outcome nobody has seen."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Exponential backoff, in seconds, for attempts whose outcome is unknown.

    `max_attempts` None retries for ever. An error of a type in `give_up_on`, or of none in `only_on`, is not
    retried; an attempt without an answer in time is a `TimeoutError`, one that a crash has cut off `Interrupted`.
    `jitter` spreads each delay by up to that share, so that sagas failing together do not retry together.
    ValueError for fewer attempts than one, a negative pause or one of more than a year; TypeError for what are no
    tuples of error types.
    """

    max_attempts: int | None = None
    initial_s: float = 0.2
    factor: float = 2.0
    max_s: float = 30.0
    jitter: float = 0.1
    give_up_on: tuple[type[Exception], ...] = ()
    only_on: tuple[type[Exception], ...] = (Exception,)

    def __post_init__(self) -> None:
        """Refuse what would be found out only when a step has failed."""
        if self.max_attempts is not None and not isinstance(self.max_attempts, int):
            raise TypeError(f"max_attempts is a whole number, or None for no limit, not {self.max_attempts!r}")
        if self.max_attempts is not None and self.max_attempts < 1:
            raise ValueError(f"a step is attempted at least once, not {self.max_attempts} times")
        if not all(map(isfinite, (self.initial_s, self.max_s, self.factor, self.jitter))):
            raise ValueError(f"a pause between attempts is a number of seconds: {self}")
        if min(self.initial_s, self.max_s, self.jitter) < 0 or self.factor <= 0:
            raise ValueError(f"a pause between attempts is never negative: {self}")
        if max(self.initial_s, self.max_s) > PAUSE_MAX_S or self.factor > FACTOR_MAX or self.jitter > JITTER_MAX:
            raise ValueError(
                f"a pause between attempts is a year at most, its factor {FACTOR_MAX:g} and its jitter {JITTER_MAX:g}: "
                f"{self}"
            )
        for name in ("give_up_on", "only_on"):
            types = getattr(self, name)
            if not isinstance(types, tuple) or not all(isinstance(one, type) for one in types):
                raise TypeError(f"{name} takes a tuple of error types, not {types!r}")

    def delay_s(self, attempt: int, spread: float, floor_s: float = 0.0) -> float:
        """Return the pause after attempt `attempt` (from 1); `spread` in [0, 1) picks the place within the jitter.

        `floor_s` is what the target asks for, of all who come at once alike: the jitter is added to it too.
        """
        exponent = min(attempt - 1, 64)
        delay = min(self.max_s, self.initial_s * self.factor**exponent)
        return max(floor_s, delay) * (1 + self.jitter * spread)

    def allows_another(self, attempt: int, error: Exception) -> bool:
        """Say whether attempt `attempt` (from 1), which ended in `error`, may be followed by another."""
        if isinstance(error, self.give_up_on) or not isinstance(error, self.only_on):
            return False
        return self.max_attempts is None or attempt < self.max_attempts


def checked_policy(what: str, policy: RetryPolicy) -> RetryPolicy:
    """Return a policy; TypeError for anything else, which would be found out only when an attempt has failed."""
    if not isinstance(policy, RetryPolicy):
        raise TypeError(f"{what} must be a RetryPolicy, not {policy!r}: RetryPolicy(max_attempts=…)")
    return policy


DEFAULT_RETRY = RetryPolicy()
"""Retry for ever, from 0.2 s doubling to 30 s."""

MISCONFIGURED_RETRY = RetryPolicy(initial_s=30.0, factor=1.0, max_s=30.0)
"""Retry what is not let in every 30 s, for ever and whatever its own policy says: a person has to mend that."""

RECONCILE_RETRY = RetryPolicy(max_attempts=6, initial_s=1.0)
"""Ask a target six times, within half a minute, what became of a step that is about to fail; then it fails."""

UNDO_RETRY = RetryPolicy(max_attempts=20)
"""Retry an undo 20 times, with pauses of six to seven minutes in all; then the saga is stuck and a person decides."""
