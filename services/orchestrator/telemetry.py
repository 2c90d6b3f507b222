"""Metrics and log events of the engine, from its hooks."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from services.chassis import logs, tracing
from services.chassis.clock import Clock
from services.chassis.metrics import Metrics
from services.orchestrator.engine import EngineHooks, ErrorInfo, Flush, NewSaga, Operations, Saga, Signal
from services.orchestrator.workflows import ADMIN_APPROVAL, REGISTRY, order

CENSUS_S: Final = 10.0
_RESTS: Final = 100
_UNDO = ":undo"
_ENDS = frozenset({"completed", "failed", "cancelled"})
_ROWS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000)
_ALARMS = ("saga-stuck", "step-misconfigured")
"""Those of the engine, beside the alarms that workflows give their failures."""
_LATE_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


def order_id_of(workflow: str, key: str) -> str | None:
    """The order that a saga is about: its key is the order id, from the second attempt on with `~` and its number."""
    return key.partition("~")[0] if workflow == order.name else None


class Telemetry(EngineHooks):
    """Counts and logs; payloads never reach it."""

    def __init__(self, metrics: Metrics) -> None:
        """Name the metrics once."""
        self._metrics = metrics
        metrics.expect_alarms(*_ALARMS, *(saga.failure_alarm for saga in REGISTRY if saga.failure_alarm is not None))
        self._log = logs.get_logger("orchestrator")
        self._started = metrics.counter("saga_started_total", "Sagas started.", ("workflow",))
        self._ended = metrics.counter("saga_ended_total", "Sagas ended.", ("workflow", "status"))
        self._attempts = metrics.counter("saga_step_attempts_total", "Attempts of steps.", ("step", "outcome"))
        self._seconds = metrics.histogram("saga_step_seconds", "Time of one attempt of a step.", ("step",))
        self._undos = metrics.counter("saga_compensations_total", "Attempts of undos.", ("step", "outcome"))
        self._late = metrics.histogram("saga_timer_late_seconds", "How late timers fire.", buckets=_LATE_S)
        self._rows = metrics.histogram("committer_batch_rows", "Rows written by one commit.", buckets=_ROWS)
        self._flush = metrics.histogram("committer_flush_seconds", "Time of one commit of the committer.")

    def started(self, saga: NewSaga) -> None:
        """A saga exists."""
        self._started.labels(saga.workflow).inc()
        self._log.info("saga.started", **_about(saga))

    def call_before(self, saga: Saga, position: str, name: str, attempt: int) -> None:
        """An attempt begins: whatever its task logs and calls from here on belongs to this saga and its trace."""
        if saga.traceparent is not None:
            tracing.enter(saga.traceparent)
        logs.bind(**_about(saga))
        if position.endswith(_UNDO):
            self._log.info("compensation.started", step=name, attempt=attempt)

    def call_answered(
        self, saga: Saga, position: str, name: str, outcome: str, seconds: float, reason: ErrorInfo | None
    ) -> None:
        """An attempt of a step or of an undo has ended."""
        self._seconds.labels(name).observe(seconds)
        if not position.endswith(_UNDO):
            self._attempts.labels(name, outcome).inc()
            if reason is not None:
                self._log.warning("step.attempt_failed", **_about(saga), step=name, outcome=outcome, **_why(reason))
            return
        self._undos.labels(name, outcome).inc()
        if reason is None:
            self._log.info("compensation.done", **_about(saga), step=name)
        else:
            self._log.warning("compensation.attempt_failed", **_about(saga), step=name, outcome=outcome, **_why(reason))

    def timer_fired(self, saga: Saga, due_at: datetime, now: datetime) -> None:
        """A timer has fired."""
        del saga
        self._late.observe(max(0.0, (now - due_at).total_seconds()))

    def flushed(self, flushes: Sequence[Flush], seconds: float) -> None:
        """A batch is committed."""
        self._rows.observe(sum(1 + len(flush.records) + len(flush.undos) + len(flush.messages) for flush in flushes))
        self._flush.observe(seconds)

    def signal_settled(self, signal: Signal) -> None:
        """A wait of a saga is over, before it takes note of it."""
        self._log.info("signal.settled", saga_id=str(signal.saga_id), kind=signal.kind, status=signal.status)

    def transition(self, saga: Saga, before: str, after: str, code: str | None) -> None:
        """A saga has another status."""
        if after in _ENDS:
            self._ended.labels(saga.workflow, after).inc()
        elif after != "stuck":
            return
        tell = self._log.info if after == "completed" else self._log.warning
        tell(f"saga.{after}", **_about(saga), before=before, code=code)

    def alarm(self, kind: str, saga: Saga, message: str) -> None:
        """Something needs a person; the engine has written the audit row."""
        self._metrics.alarm(kind, **_about(saga), why=message)


async def take_census(operations: Operations, metrics: Metrics, clock: Clock) -> float:
    """Set the gauges of live sagas, by workflow and status, and of waiting approvals; return the pause until the next.

    Postgres counts row by row, a million in about a second. The pause is long enough to spend at most a hundredth of a
    core on it.
    """
    began = clock.monotonic()
    live = metrics.gauge("saga_live", "Sagas that have not ended.", ("workflow", "status"))
    counts = await operations.count_live()
    live.clear()
    for (workflow, status), count in counts.items():
        live.labels(workflow, status).set(count)
    pending = metrics.gauge("approvals_pending", "Orders that wait for an administrator.")
    pending.set(await operations.count_waiting(ADMIN_APPROVAL))
    return max(CENSUS_S, (clock.monotonic() - began) * _RESTS)


def _about(saga: Saga | NewSaga) -> dict[str, str | None]:
    """Return the ids of a saga, its trace among them: the task that tells may belong to another's, or to none."""
    about = {"saga_id": str(saga.id), "workflow": saga.workflow, "user_id": saga.subject}
    if traceparent := tracing.parse(saga.traceparent):
        about["trace_id"] = tracing.trace_id(traceparent)
    order_id = order_id_of(saga.workflow, saga.key)
    return about if order_id is None else {**about, "order_id": order_id}


def _why(reason: ErrorInfo) -> dict[str, str]:
    return {"code": reason.code} | ({"reason": reason.message} if reason.message else {})
