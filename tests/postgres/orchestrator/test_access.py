"""Who may do what, and what the service tells of itself."""

from typing import Any

import pytest

from services.chassis.security.tokens import mint_token
from services.orchestrator.telemetry import take_census
from tests.postgres.orchestrator.acts import REFUND
from tests.support.system import System

UNKNOWN = "00000000-0000-0000-0000-000000000000"
ADMIN, SERVICE, BOTH = "admin", "service", "both"
ROUTES: list[tuple[str, str, Any, str]] = [
    ("POST", "/sagas", REFUND, BOTH),
    ("GET", "/sagas", None, ADMIN),
    ("GET", f"/sagas/{UNKNOWN}", None, BOTH),
    ("GET", f"/sagas/{UNKNOWN}/steps", None, BOTH),
    ("GET", f"/sagas/{UNKNOWN}/result", None, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/cancel", {"reason": "r"}, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/pause", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/resume", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/retry", {"reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/skip", {"position": "1", "reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/restart", {"from_position": "1", "reason": "r"}, ADMIN),
    ("POST", f"/sagas/{UNKNOWN}/promises/p/resolve", {"value": 1}, BOTH),
    ("POST", f"/sagas/{UNKNOWN}/promises/p/reject", {"code": "c"}, BOTH),
    ("POST", "/awakeables/awk_x/resolve", {"value": 1}, SERVICE),
    ("POST", "/awakeables/awk_x/reject", {"code": "c"}, SERVICE),
    ("GET", "/approvals", None, ADMIN),
    ("GET", "/audit", None, ADMIN),
    ("GET", "/dead-letters", None, ADMIN),
    ("POST", "/dead-letters/m/retry", {"reason": "r"}, ADMIN),
    ("POST", "/dead-letters/m/discard", {"reason": "r"}, ADMIN),
]


@pytest.mark.scenario("SEC-b")
async def test_every_route_asks_who_calls(system: System) -> None:
    """Nobody is 401, the wrong role 403, the right one gets through; forged and stale tokens are nobody's."""
    now = system.clock.now().timestamp()
    forged = {
        "a user's key for a service": mint_token(
            "development-only-user-token-secret",
            subject="session",
            scope="service",
            audience="order-saga/orchestrator",
            issuer="session",
            now=now,
            life_s=60,
        ),
        "another service's token": system.service("shipping")["Authorization"].split()[1],
        "garbage": "garbage",
    }
    callers = {"customer": system.bearer(), ADMIN: system.admin, SERVICE: system.service()}
    for method, path, body, who in ROUTES:
        assert (await system.call(method, "orchestrator", path, json=body)).status_code == 401, path
        for name, token in forged.items():
            headers = {"Authorization": f"Bearer {token}"}
            answer = await system.call(method, "orchestrator", path, json=body, headers=headers)
            assert answer.status_code == 401, (path, name)
            assert "www-authenticate" in answer.headers
        for role, headers in callers.items():
            answer = await system.call(method, "orchestrator", path, json=body, headers=headers)
            allowed = who == role or (who == BOTH and role in (ADMIN, SERVICE))
            assert (answer.status_code != 403) == allowed, (path, role, answer.text)
            assert answer.status_code < 500


async def test_the_service_tells_how_it_is(system: System) -> None:
    """Alive, ready with its named checks, measurable; and its documents open offline, with examples."""
    for path in ("/healthz", "/readyz", "/docs", "/openapi.json"):
        assert (await system.call("GET", "orchestrator", path)).status_code == 200, path
    ready = (await system.call("GET", "orchestrator", "/readyz")).json()
    assert ready["checks"]["postgres"] == "ok"
    await system.place("order-1")
    await system.settle()
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    for name in (
        'saga_started_total{workflow="order"} 1.0',
        'saga_step_attempts_total{outcome="ok",step="reserve_stock"} 1.0',
        'webhooks_total{outcome="accepted"} 1.0',
        "committer_batch_rows_count",
    ):
        assert name in metrics, name


async def test_the_census_counts_what_is_alive(system: System) -> None:
    """Gauges follow the sagas: a status that nobody has any more is no longer shown."""
    resources = system.apps["orchestrator"].state.resources
    await system.place("order-1")
    await system.settle()
    await take_census(resources.operations, resources.metrics, resources.clock)
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    assert 'saga_live{status="waiting",workflow="order"} 1.0' in metrics
    assert "approvals_pending 1.0" in metrics
    await system.decide("order-1", "reject")
    await system.settle()
    await take_census(resources.operations, resources.metrics, resources.clock)
    metrics = (await system.call("GET", "orchestrator", "/metrics")).text
    assert "saga_live{" not in metrics
    assert "approvals_pending 0.0" in metrics


async def test_every_body_in_the_documents_has_an_example(system: System) -> None:
    """Whoever opens /docs can try each call as it stands."""
    document = (await system.call("GET", "orchestrator", "/openapi.json")).json()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            for kind, content in operation.get("requestBody", {}).get("content", {}).items():
                shape = content.get("schema", {})
                named = document["components"]["schemas"].get(shape.get("$ref", "").rpartition("/")[2], {})
                assert "example" in content or "examples" in content or "example" in named, (method, path, kind)
