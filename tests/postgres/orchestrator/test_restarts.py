"""Restarting an order over HTTP: who may, when not, and that its money, stock and parcel are there once."""

from typing import Any

import pytest

from tests.postgres.orchestrator.acts import steer, waiting_for_approval
from tests.support.system import System

pytestmark = pytest.mark.scenario("V12")


async def _log(system: System) -> dict[str, Any]:
    return {line["position"]: line for line in await system.steps("order-1")}


async def _audited(system: System) -> list[Any]:
    saga_id = (await system.saga("order-1"))["saga_id"]
    answer = await system.call("GET", "orchestrator", f"/audit?saga_id={saga_id}", headers=system.admin)
    return [entry for entry in answer.json()["items"] if entry["action"] == "restart"]


@pytest.mark.parametrize("position", ["1", "5"])
@pytest.mark.parametrize("decision", ["approve", "reject"])
async def test_a_restarted_order_is_paid_and_shipped_once(system: System, position: str, decision: str) -> None:
    """Restarted while it waits for its approval, an order goes the rest of its way as if nothing had happened."""
    await waiting_for_approval(system)
    assert (await steer(system, "order-1", "pause")).status_code == 202
    before = await _log(system)
    await system.pass_time(60)
    answer = await steer(system, "order-1", "restart", from_position=position)
    assert (answer.status_code, answer.json()["status"]) == (202, "running")
    await system.settle()
    after = await _log(system)
    unchanged = ("position", "kind", "name", "status", "output")
    assert [[line[field] for field in unchanged] for line in after.values() if line["kind"] == "awakeable"] == [
        [line[field] for field in unchanged] for line in before.values() if line["kind"] == "awakeable"
    ]
    assert (after["3"] == before["3"]) == (position == "5")
    assert len(await system.payments("order-1")) == 1
    await system.decide("order-1", decision)
    await system.settle()
    if decision == "approve":
        assert (await system.status("order-1")) == "shipped"
        await system.pass_time(8 * 86_400)
        assert (await system.status("order-1")) == "completed"
    else:
        assert (await system.status("order-1")) == "rejected"
    assert len(set(await system.history("order-1"))) == len(await system.history("order-1"))
    await system.check_balance()


async def test_a_restart_is_refused_where_it_makes_no_sense(system: System) -> None:
    """Not while it waits, not from where nothing is, not from what is no position, not without a reason."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    answer = await steer(system, "order-1", "restart", from_position="1")
    assert (answer.status_code, answer.json()["code"]) == (409, "state-conflict")
    assert "pause it first" in answer.json()["detail"]
    assert (await steer(system, "order-1", "pause")).status_code == 202
    absent = await steer(system, "order-1", "restart", from_position="99")
    assert (absent.status_code, "nothing at position 99; its log has: 1-" in absent.json()["detail"]) == (409, True)
    for wrong in ("0", "01", "-1", "1.0.1", "1:undo", "", "1 ", "9999999999", 1, None):
        refused = await steer(system, "order-1", "restart", from_position=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["where"]) == (422, "body.from_position"), wrong
    assert (await steer(system, "order-1", "restart", from_position="1", reason="")).status_code == 422
    assert (await steer(system, "order-1", "restart")).status_code == 422
    assert await _audited(system) == []
    path = "/sagas/00000000-0000-4000-8000-000000000000/restart"
    body = {"from_position": "1", "reason": "a test"}
    for headers, status in ((system.admin, 404), (system.service(), 403), (system.bearer(), 403), (None, 401)):
        assert (await system.call("POST", "orchestrator", path, json=body, headers=headers)).status_code == status


async def test_a_restart_is_done_once_per_key(system: System) -> None:
    """Sent again it gets the first answer, word for word, and restarts nothing; what it was is on record once."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    assert (await steer(system, "order-1", "pause")).status_code == 202
    path = f"/sagas/{(await system.saga('order-1'))['saga_id']}/restart"
    keyed = system.admin | {"Idempotency-Key": "k-1"}
    body = {"from_position": "3", "reason": "a test"}
    first = await system.call("POST", "orchestrator", path, json=body, headers=keyed)
    await system.settle()
    again = await system.call("POST", "orchestrator", path, json=body, headers=keyed)
    assert (first.status_code, again.status_code, again.text) == (202, 202, first.text)
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await system.call("POST", "orchestrator", path, json=body | {"from_position": "1"}, headers=keyed)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    (entry,) = await _audited(system)
    assert (entry["actor"], entry["reason"], entry["details"]["from_position"]) == ("root", "a test", "3")
