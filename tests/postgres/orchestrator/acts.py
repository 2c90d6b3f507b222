"""What people and processors do again and again in these tests."""

from collections.abc import Mapping
from typing import Any

from tests.support.system import System

REFUND = {"workflow": "refund-payment", "key": "pay_1", "input": {"payment_id": "pay_1"}}


async def waiting_for_approval(system: System, order_id: str = "order-1", **how: Any) -> None:
    await system.place(order_id, **how)
    await system.settle()
    assert await system.status(order_id) == "awaiting_approval"


async def retried(system: System, order_id: str, *, times: int = 12) -> None:
    """Let time pass until every retry of a step has been made."""
    for _ in range(times):
        await system.pass_time(60)


async def unpaid(system: System, order_id: str = "order-1", token: str = "tok_manual") -> Any:
    """An order that waits for its webhook; returns the processor's payment."""
    await system.place(order_id, payment_token=token)
    await system.settle()
    (payment,) = await system.payments(order_id)
    return payment


async def waiting(system: System, order_id: str = "order-1") -> str:
    """An order that waits for its approval; returns the path of its link."""
    await system.place(order_id)
    await system.settle()
    return await system.approval_path(order_id)


async def audited(system: System, prefix: str = "payment.") -> list[str]:
    """The actions of the audit log that begin so, newest first."""
    answer = await system.call("GET", "orchestrator", "/audit", headers=system.admin)
    return [entry["action"] for entry in answer.json()["items"] if entry["action"].startswith(prefix)]


async def counted(system: System, metric: str) -> float:
    text = (await system.call("GET", "orchestrator", "/metrics")).text
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(metric))


async def start(system: System, headers: Mapping[str, str] | None = None, **changed: Any) -> Any:
    body = REFUND | changed
    return await system.call("POST", "orchestrator", "/sagas", json=body, headers=headers or system.service())


async def steer(system: System, order_id: str, what: str, **body: Any) -> Any:
    path = f"/sagas/{(await system.saga(order_id))['saga_id']}/{what}"
    return await system.call("POST", "orchestrator", path, json={"reason": "a test"} | body, headers=system.admin)
