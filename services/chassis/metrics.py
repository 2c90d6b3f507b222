"""Prometheus metrics in a registry of their own, and alarms."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.metrics import MetricWrapperBase

from services.chassis.logs import get_logger

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

M = TypeVar("M", bound=MetricWrapperBase)


class Metrics:
    """The metrics of one service; asking twice for a name gives the same metric."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self._by_name: dict[str, MetricWrapperBase] = {}
        self._log = get_logger("chassis.metrics")
        self.http_requests = self.counter(
            "http_requests_total",
            "Requests answered.",
            ("method", "route", "status"),
        )
        self.http_seconds = self.histogram("http_request_seconds", "Time to answer a request.", ("method", "route"))
        self.http_in_progress = self.gauge("http_requests_in_progress", "Requests being answered.")
        self.idempotency = self.counter(
            "idempotency_requests_total",
            "Requests with an idempotency key.",
            ("outcome",),
        )
        self.alarms = self.counter("order_saga_alarms_total", "What an operator should look at.", ("kind",))

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        return self._once(Counter, name, description, labels)

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        return self._once(Gauge, name, description, labels)

    def histogram(
        self,
        name: str,
        description: str,
        labels: Sequence[str] = (),
        *,
        buckets: Sequence[float] = SECONDS,
    ) -> Histogram:
        return self._once(Histogram, name, description, labels, buckets=tuple(buckets))

    def expect_alarms(self, *kinds: str) -> None:
        """Count these kinds from 0: of a series that begins with its first alarm, `increase()` sees no increase."""
        for kind in kinds:
            self.alarms.labels(kind)

    def alarm(self, kind: str, **details: Any) -> None:
        """Say that a person should look: a WARN line and a count; the audit row is the caller's, in its transaction."""
        self.alarms.labels(kind).inc()
        self._log.warning("alarm", kind=kind, **details)

    def render(self) -> bytes:
        return generate_latest(self.registry)

    def _once(self, kind: type[M], name: str, description: str, labels: Sequence[str], **rest: Any) -> M:
        known = self._by_name.get(name)
        if known is None:
            known = self._by_name[name] = kind(name, description, tuple(labels), registry=self.registry, **rest)
        if not isinstance(known, kind):
            raise TypeError(f"{name} is a {type(known).__name__}")
        return known
