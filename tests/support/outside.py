"""The outside world as tests see and steer it: the processor's ledger, the carrier's fleet, and their faults."""

from dataclasses import dataclass
from typing import Any

from tests.support.inprocess import InProcess


@dataclass
class Outside(InProcess):
    """Two simulators, asked over their own HTTP."""

    async def payments(self, order_id: str) -> Any:
        return (await self.call("GET", "payment", "/payments", params={"order_id": order_id})).json()["payments"]

    async def settle_payment(self, order_id: str, outcome: str, *, attempt: int = 1) -> None:
        """End a payment that waits to be told how."""
        (found,) = [p for p in await self.payments(order_id) if p["attempt"] == attempt]
        path = f"/_control/payments/{found['payment_id']}/settle"
        answer = await self.call("POST", "payment", path, json={"outcome": outcome})
        assert answer.status_code == 200, answer.text

    async def ledger(self) -> Any:
        return (await self.call("GET", "payment", "/ledger")).json()["payments"]

    async def fleet(self) -> Any:
        return (await self.call("GET", "carrier", "/fleet")).json()["parcels"]

    async def fault(self, simulator: str, **fault: Any) -> None:
        """Script a fault of the processor or the carrier."""
        answer = await self.call("POST", simulator, "/_control/faults", json={"faults": [fault]})
        assert answer.status_code == 201, answer.text

    async def mend(self, simulator: str) -> None:
        """Forget every fault of the processor or the carrier."""
        answer = await self.call("DELETE", simulator, "/_control/faults")
        assert answer.status_code == 204, answer.text

    async def calls(self, simulator: str, path: str, *, order_id: str | None = None) -> Any:
        """The calls that a simulator has received on a path, oldest first."""
        params = {"path": path} | ({} if order_id is None else {"subject": order_id})
        return (await self.call("GET", simulator, "/_control/calls", params=params)).json()["calls"]
