"""Absurd's worker: eight of its workers and the HTTP front in one process.

One of its workers serialises on one connection and claims again only when its whole batch has ended, so that several
run side by side, as its documentation advises. Runs in the peers' environment.
"""

import asyncio
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import aiohttp
from absurd_sdk import AsyncAbsurd

from bench.apps.front import Front, serve
from bench.apps.options import Options
from bench.steplog import StepLog

QUEUE = "bench"
WORKERS = 8
CONCURRENCY = 8
INGRESS = 8
POLL_S = 0.02
CLAIM_TIMEOUT_S = {"": 120, "mid-flight": 10}


class Outside:
    """What steps use, and who waits for what; filled when the process starts."""

    options: Options
    log: StepLog
    http: aiohttp.ClientSession
    ends: ClassVar[dict[str, "asyncio.Future[Any]"]] = {}
    results: ClassVar[dict[str, tuple[str, Any]]] = {}
    ingress: "itertools.cycle[AsyncAbsurd]"


def end_of(name: str) -> "asyncio.Future[Any]":
    return Outside.ends.setdefault(name, asyncio.get_running_loop().create_future())


class Worker(AsyncAbsurd):
    """Tells who waits for a task when its completion has been committed; nothing else is changed."""

    async def _execute_task(self, task: Any, claim_timeout: int) -> None:
        await super()._execute_task(task, claim_timeout)
        found = Outside.results.pop(str(task["run_id"]), None)
        if found is not None:
            end = end_of(found[0])
            if not end.done():
                end.set_result(found[1])


def ended(ctx: Any, name: str, value: Any) -> Any:
    Outside.results[str(ctx._task["run_id"])] = (name, value)  # noqa: SLF001 - it shows the run nowhere else
    return value


async def ten_steps(params: Any, ctx: Any) -> Any:
    total = 0
    for number in range(10):

        async def tiny(number: int = number) -> dict[str, Any]:
            return {"i": number, "ok": True}

        total += (await ctx.step(f"s{number}", tiny))["i"]
    return ended(ctx, params["id"], total)


async def reserve(order: str) -> dict[str, Any]:
    Outside.log.add(order, "reserve")
    return {"reservation": f"R-{order}"}


async def ship(order: str) -> dict[str, Any]:
    Outside.log.add(order, "ship")
    address = f"{Outside.options.shipping}/ship/{order}"
    async with Outside.http.post(address, json={"order": order}) as answer:
        body: dict[str, Any] = await answer.json(content_type=None)
        if answer.status == 422:
            return {"refused": body["error"]}
        answer.raise_for_status()
        return body


async def undo(order: str, what: str) -> dict[str, Any]:
    Outside.log.add(order, what)
    return {"undone": what}


async def order_task(params: Any, ctx: Any) -> Any:
    order = params["id"]
    reserved = await ctx.step("reserve", lambda: reserve(order))
    payment = await ctx.await_event(f"{order}:payment")
    approval = await ctx.await_event(f"{order}:approval")
    shipped = await ctx.step("ship", lambda: ship(order))
    if "refused" in shipped:
        for what in ("undo_approval", "undo_payment", "undo_reserve"):
            await ctx.step(what, lambda what=what: undo(order, what))
        return ended(ctx, order, {"order": order, "status": "compensated"})
    await ctx.sleep_for("settle", 0.05)
    done = {"order": order, "status": "completed", "pay": payment, "appr": approval, **reserved, **shipped}
    return ended(ctx, order, done)


def registered(absurd: AsyncAbsurd) -> AsyncAbsurd:
    absurd.register_task("ten")(ten_steps)
    absurd.register_task("order")(order_task)
    return absurd


class Orders:
    """Orders and ten-step tasks."""

    async def start(self, order: str) -> None:
        _ = end_of(order)
        await next(Outside.ingress).spawn("order", {"id": order}, idempotency_key=order)

    async def settle(self, order: str, signal: str) -> None:
        await next(Outside.ingress).emit_event(f"{order}:{signal}", {"by": signal})

    async def result(self, order: str) -> Any:
        value = await end_of(order)
        Outside.ends.pop(order, None)
        return value

    async def ten_steps(self, name: str) -> Any:
        end = end_of(name)
        await next(Outside.ingress).spawn("ten", {"id": name})
        total = await end
        del Outside.ends[name]
        return total


@asynccontextmanager
async def running() -> AsyncIterator[Orders]:
    store = Outside.options.store
    ingress = [registered(AsyncAbsurd(store, queue_name=QUEUE)) for _ in range(INGRESS)]
    if QUEUE not in await ingress[0].list_queues():
        await ingress[0].create_queue(QUEUE)
    Outside.ingress = itertools.cycle(ingress)
    workers = [registered(Worker(store, queue_name=QUEUE)) for _ in range(WORKERS)]
    tasks = [
        asyncio.create_task(
            worker.start_worker(
                worker_id=f"w{os.getpid()}-{number}",
                claim_timeout=CLAIM_TIMEOUT_S[Outside.options.variant],
                concurrency=CONCURRENCY,
                poll_interval=POLL_S,
            )
        )
        for number, worker in enumerate(workers)
    ]
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as http:
        Outside.http = http
        yield Orders()
        for worker in workers:
            worker.stop_worker()
        await asyncio.wait(tasks, timeout=2)


def main() -> None:
    Outside.options = Options.read()
    Outside.log = StepLog(Outside.options.steplog)
    serve(Front(running), Outside.options.port)


if __name__ == "__main__":
    main()
