"""DBOS's worker: engine and HTTP front in one process, as its documentation shows it.

Runs in the peers' environment: of ours it imports the standard-library modules of bench alone.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from dbos import DBOS, SetWorkflowID

from bench.apps.front import Front, serve
from bench.apps.options import Options
from bench.steplog import StepLog

THREADS = 8
POOL = 20
PATIENCE_S = 86_400.0


class Outside:
    """What steps use; filled when the process starts."""

    log: StepLog
    http: aiohttp.ClientSession
    shipping: str


class Refused(Exception):
    """Shipping has refused the order."""


@DBOS.step()
async def tiny(number: int) -> dict[str, Any]:
    return {"i": number, "ok": True}


@DBOS.workflow()
async def ten_steps(start: int) -> int:
    total = start
    for number in range(10):
        total += (await tiny(number))["i"]
    return total


@DBOS.step()
async def reserve(order: str) -> dict[str, Any]:
    Outside.log.add(order, "reserve")
    return {"reservation": f"R-{order}"}


@DBOS.step()
async def ship(order: str) -> dict[str, Any]:
    Outside.log.add(order, "ship")
    async with Outside.http.post(f"{Outside.shipping}/ship/{order}", json={"order": order}) as answer:
        body: dict[str, Any] = await answer.json(content_type=None)
        if answer.status == 422:
            raise Refused(body["error"])
        answer.raise_for_status()
        return body


@DBOS.step()
async def undo(order: str, what: str) -> dict[str, Any]:
    Outside.log.add(order, what)
    return {"undone": what}


@DBOS.workflow()
async def order_workflow(order: str) -> dict[str, Any]:
    undos = []
    reserved = await reserve(order)
    undos.append("undo_reserve")
    payment = await DBOS.recv_async("payment", timeout_seconds=PATIENCE_S)
    undos.append("undo_payment")
    approval = await DBOS.recv_async("approval", timeout_seconds=PATIENCE_S)
    undos.append("undo_approval")
    try:
        shipped = await ship(order)
    except Refused:
        for what in reversed(undos):
            await undo(order, what)
        return {"order": order, "status": "compensated"}
    await DBOS.sleep_async(0.05)
    return {"order": order, "status": "completed", "pay": payment, "appr": approval, **reserved, **shipped}


class Orders:
    """Orders and ten-step workflows; who started one keeps its handle, which hears of its end without asking."""

    def __init__(self) -> None:
        self._handles: dict[str, Any] = {}

    async def start(self, order: str) -> None:
        with SetWorkflowID(order):
            self._handles[order] = await DBOS.start_workflow_async(order_workflow, order)

    async def settle(self, order: str, signal: str) -> None:
        await DBOS.send_async(order, {"by": signal}, topic=signal)

    async def result(self, order: str) -> Any:
        handle = self._handles.pop(order, None)
        if handle is None:
            handle = await DBOS.retrieve_workflow_async(order)
        return await handle.get_result()

    async def ten_steps(self, name: str) -> Any:
        with SetWorkflowID(name):
            handle = await DBOS.start_workflow_async(ten_steps, 0)
        return await handle.get_result()


@asynccontextmanager
async def running() -> AsyncIterator[Orders]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as http:
        Outside.http = http
        DBOS.launch()
        yield Orders()
    DBOS.destroy()


def main() -> None:
    options = Options.read()
    Outside.log, Outside.shipping = StepLog(options.steplog), options.shipping
    DBOS(
        config={
            "name": "bench",
            "system_database_url": options.store,
            "sys_db_pool_size": POOL,
            "max_executor_threads": THREADS,
            "db_engine_kwargs": {"pool_pre_ping": False, "connect_args": {"application_name": "dbos_transact"}},
            "log_level": "WARNING",
            "application_version": "bench",
            "executor_id": "local",
            "enable_otlp": False,
        }
    )
    serve(Front(running), options.port)


if __name__ == "__main__":
    main()
