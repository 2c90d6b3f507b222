"""Restate: its server keeps the log on its own disk and calls the worker; the driver talks to the server."""

import asyncio
import base64
import shutil
import string
import struct
import time
from typing import Any, ClassVar

from bench.apps.options import Options
from bench.arena import Arena, listening
from bench.client import Client
from bench.contenders import environment
from bench.contenders.contender import Contender
from bench.processes import Process
from dev.postgres import free_port

DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase
FIRST_AWAKEABLE = 17
STARTING_S = 1.5
INACTIVITY = "1m"
PARKED_INACTIVITY = "5s"
"""How long an invocation waits before it leaves the worker; by default none of 20,000 had left when others came."""

CONFIGURATION = """
roles = ["http-ingress", "admin", "worker", "log-server", "metadata-server"]
cluster-name = "bench"
node-name = "n1"
auto-provision = true
disable-telemetry = true
default-num-partitions = 4
bind-ip = "127.0.0.1"
bind-port = {node}
advertised-host = "127.0.0.1"
listen-mode = "tcp"
log-filter = "warn"
base-dir = "{folder}"
[ingress]
bind-address = "127.0.0.1:{ingress}"
[admin]
bind-address = "127.0.0.1:{admin}"
disable-web-ui = true
[worker.invoker]
inactivity-timeout = "{inactivity}"
"""


class Restate(Contender):
    """On granian, the faster of the servers that its SDK runs on."""

    name = "restate"
    server = "restate-server"
    variant = "granian"
    sizes: ClassVar = {"w1": 2000, "w2": 1000, "w3": 1000, "w4": 500, "w5": 20_000}

    def __init__(self, arena: Arena) -> None:
        super().__init__(arena)
        self.ingress_port, self.admin_port, self.node_port = free_port(), free_port(), free_port()
        self.ingress, self.admin = Client(self.ingress_port), Client(self.admin_port)
        self.serving: Process | None = None
        self.invocations: dict[str, str] = {}

    async def setup(self) -> None:
        folder = self.arena.folder / "restate-data"
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
        configuration = self.arena.folder / "restate.toml"
        configuration.write_text(
            CONFIGURATION.format(
                node=self.node_port,
                folder=folder,
                ingress=self.ingress_port,
                admin=self.admin_port,
                inactivity=PARKED_INACTIVITY if self.workload == "w5" else INACTIVITY,
            )
        )
        self.serving = self.arena.process(
            "restate-server", [str(environment.restate_server()), "--no-logo", "-c", str(configuration)]
        )
        await listening(self.serving, self.admin_port)
        await listening(self.serving, self.ingress_port)
        await self.start_worker()
        await self._register()

    async def _register(self) -> None:
        deployment = {"uri": f"http://127.0.0.1:{self.port}", "force": True}
        for attempt in range(20):
            try:
                await self.admin.post("/deployments", deployment)
            except Exception:
                if attempt == 19:
                    raise
                await asyncio.sleep(0.5)
            else:
                break
        await asyncio.sleep(STARTING_S)

    def command(self) -> list[str]:
        options = Options(self.port, "none", self.arena.shipping, self.arena.steplog, self.variant)
        return [str(environment.python()), "-m", "bench.apps.restate_worker", *options.words()]

    @property
    def server_pid(self) -> int:
        assert self.serving is not None
        return self.serving.pid

    async def completed(self) -> int:
        rows = await self._ask(
            "select count(*) as n from sys_invocation where status = 'completed' and target_service_name = 'Orders'"
        )
        return int(rows[0]["n"])

    async def stop(self) -> None:
        await super().stop()
        self.ingress.close()
        self.admin.close()
        if self.serving is not None:
            self.serving.stop()

    async def start(self, order: str) -> None:
        answer = await self.ingress.post("/Orders/run/send", order, headers=f"idempotency-key: {order}\r\n")
        self.invocations[order] = answer["invocationId"]

    async def pay(self, order: str) -> None:
        await self._resolve(order, 0, {"by": "payment"})

    async def approve(self, order: str) -> None:
        await self._resolve(order, 1, {"by": "approval"})

    async def result(self, order: str) -> str:
        answer = await self.ingress.get(f"/restate/invocation/{self.invocations[order]}/attach")
        return str(answer["status"])

    async def ten_steps(self, count: int, concurrency: int, tag: str) -> float:
        """Run W1 over the ingress: Restate starts nothing from inside a worker."""
        del tag
        began = time.perf_counter()
        numbers = iter(range(count))

        async def lane() -> None:
            for _ in numbers:
                if await self.ingress.post("/Bench/ten_steps", 0) != 45:
                    raise AssertionError("a wrong sum")

        await asyncio.gather(*(lane() for _ in range(concurrency)))
        return time.perf_counter() - began

    async def _resolve(self, order: str, number: int, value: Any) -> None:
        name = awakeable(self.invocations[order], number)
        await self.ingress.post(f"/restate/awakeables/{name}/resolve", value)

    async def _ask(self, query: str) -> list[dict[str, Any]]:
        answer = await self.admin.post("/query", {"query": query})
        rows: list[dict[str, Any]] = answer["rows"]
        return rows


class RestateWorkflows(Restate):
    """In the shape that its documentation shows for this: a workflow whose shared handlers resolve its promises."""

    name = "restate workflow"

    async def start(self, order: str) -> None:
        await self.ingress.post(f"/OrderWorkflow/{order}/run/send", order)

    async def pay(self, order: str) -> None:
        await self.ingress.post(f"/OrderWorkflow/{order}/payment", {"by": "payment"})

    async def approve(self, order: str) -> None:
        await self.ingress.post(f"/OrderWorkflow/{order}/approval", {"by": "approval"})

    async def result(self, order: str) -> str:
        answer = await self.ingress.get(f"/restate/workflow/OrderWorkflow/{order}/attach")
        return str(answer["status"])


class RestateOnHypercorn(Restate):
    """On the server that its documentation shows."""

    name = "restate hypercorn"
    variant = "hypercorn"


def awakeable(invocation: str, number: int) -> str:
    """Return the id of an invocation's awakeable, which is a function of the invocation's id.

    `sign_1` and, in base64url, its partition key, its uuid, and the index of the signal; those of users begin at 17.
    """
    digits = invocation.removeprefix("inv_1")
    key, rest = _decoded(digits[:11]), _decoded(digits[11:])
    raw = key.to_bytes(8, "little") + rest.to_bytes(16, "little") + struct.pack(">I", FIRST_AWAKEABLE + number)
    return "sign_1" + base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decoded(digits: str) -> int:
    value = 0
    for digit in digits:
        value = value * len(DIGITS) + DIGITS.index(digit)
    return value
