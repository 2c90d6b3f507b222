"""The engine's named events: telemetry listens to them, tests wait on them, the crash harness raises in them.

Between every two writes there is one event, so that the list of methods here is the list of crash points.
"""

from collections.abc import Sequence
from datetime import datetime

from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.records import ErrorInfo, NewSaga, Saga, Signal


class EngineHooks:
    """Does nothing; subclass it and override what you want to hear. Methods must be quick and must not block."""

    def start_before(self, saga: NewSaga) -> None:
        """A start is about to be written; not told of one that takes care of what came too late."""

    def started(self, saga: NewSaga) -> None:
        """A start is committed, not answered."""

    def claim_before(self) -> None:
        """A claim is about to be sent."""

    def claim_unseen(self) -> None:
        """A claim is committed; its answer has not been used."""

    def claimed(self, saga: Saga) -> None:
        """A saga is leased to this replica and about to be replayed."""

    def isolate_before(self, saga: Saga) -> None:
        """A saga that has lost several replicas is about to be noted as running in the quarantine."""

    def flush_before(self, flushes: Sequence[Flush]) -> None:
        """A batch is about to be written."""

    def flush_unseen(self, flushes: Sequence[Flush]) -> None:
        """A batch is committed; its answer has not been seen. A ConnectionError raised here is a lost answer."""

    def flushed(self, flushes: Sequence[Flush], seconds: float) -> None:
        """A batch is committed and its answer seen, `seconds` after it was sent."""

    def call_before(self, saga: Saga, position: str, name: str, attempt: int) -> None:
        """The intent is durable; the call is about to go out. Undos have a position that ends in `:undo`.

        A read-back is a call by its function's name at its step's position, and `attempt` counts the read-backs.
        A transaction has no intent: its code is about to be run, and nothing of it is durable.
        """

    def call_answered(
        self, saga: Saga, position: str, name: str, outcome: str, seconds: float, reason: ErrorInfo | None
    ) -> None:
        """The answer is here, not recorded; `outcome` is `ok`, `refused`, `misconfigured`, `unknown` or `timeout`.

        Of a transaction, which the next flush is to commit, it is `rolled-back` where that of a call is unknown.
        `reason` is why it is not `ok`, as far as logs may hold it; its message may be empty.
        """

    def suspend_before(self, saga: Saga) -> None:
        """The saga is about to be written as waiting."""

    def suspended(self, saga: Saga) -> None:
        """The saga waits; its lease is given back."""

    def timer_fired(self, saga: Saga, due_at: datetime, now: datetime) -> None:
        """A timer that was due at `due_at` is seen as due at `now`."""

    def signal_before(self, signal: Signal) -> None:
        """A settlement is about to be written, in its row or with its saga's next flush."""

    def signal_settled(self, signal: Signal) -> None:
        """A settlement is committed, not answered."""

    def abort_decided(self, saga: Saga, code: str) -> None:
        """The saga will be unwound; that is not written yet."""

    def transition(self, saga: Saga, before: str, after: str, code: str | None) -> None:
        """The saga's status word has changed, durably."""

    def lease_before(self, count: int) -> None:
        """The leases of `count` sagas are about to be extended, or given back."""

    def alarm(self, kind: str, saga: Saga, message: str) -> None:
        """Something needs a person."""
