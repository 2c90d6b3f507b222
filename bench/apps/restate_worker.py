"""Restate's worker: its SDK's services on granian, its faster server; `--variant hypercorn` is the documented one.

Runs in the peers' environment. An order is a service with awakeables, where a callback is one request to Restate's
server; and once more a workflow with promises, as its documentation shows it, where a callback invokes the worker.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import cache
from typing import Any

import aiohttp
import restate
from restate import Context, Service, TerminalError, Workflow, WorkflowContext, WorkflowSharedContext

from bench.apps.options import Options
from bench.steplog import StepLog

OPTIONS = "BENCH_WORKER_OPTIONS"
"""Granian runs the app in a process of its own, which reads the options again."""


class Outside:
    """What steps use."""

    def __init__(self) -> None:
        sys.argv = ["worker", *os.environ[OPTIONS].split()]
        options = Options.read()
        self.log = StepLog(options.steplog)
        self.shipping = options.shipping
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))


@cache
def outside() -> Outside:
    return Outside()


bench = Service("Bench")
orders = Service("Orders")
order_workflow = Workflow("OrderWorkflow")


async def tiny(number: int) -> dict[str, Any]:
    return {"i": number, "ok": True}


@bench.handler("ten_steps")
async def ten_steps(ctx: Context, start: int) -> int:
    total = start
    for number in range(10):
        total += (await ctx.run_typed("tiny", tiny, number=number))["i"]
    return total


async def reserve(order: str) -> dict[str, Any]:
    outside().log.add(order, "reserve")
    return {"reservation": f"R-{order}"}


async def ship(order: str) -> dict[str, Any]:
    outside().log.add(order, "ship")
    address = f"{outside().shipping}/ship/{order}"
    async with outside().http.post(address, json={"order": order}) as answer:
        body: dict[str, Any] = await answer.json(content_type=None)
        if answer.status == 422:
            raise TerminalError(body["error"], status_code=422)
        answer.raise_for_status()
        return body


async def undo(order: str, what: str) -> dict[str, Any]:
    outside().log.add(order, what)
    return {"undone": what}


async def order_saga(ctx: Context, order: str, wait_for: Callable[[str], Awaitable[Any]]) -> dict[str, Any]:
    undos = []
    reserved = await ctx.run_typed("reserve", reserve, order=order)
    undos.append("undo_reserve")
    payment = await wait_for("payment")
    undos.append("undo_payment")
    approval = await wait_for("approval")
    undos.append("undo_approval")
    try:
        shipped = await ctx.run_typed("ship", ship, order=order)
    except TerminalError:
        for what in reversed(undos):
            await ctx.run_typed("undo", undo, order=order, what=what)
        return {"order": order, "status": "compensated"}
    await ctx.sleep(timedelta(milliseconds=50))
    return {"order": order, "status": "completed", "pay": payment, "appr": approval, **reserved, **shipped}


@orders.handler("run")
async def run(ctx: Context, order: str) -> dict[str, Any]:
    return await order_saga(ctx, order, lambda _: ctx.awakeable()[1])


@order_workflow.main("run")
async def run_workflow(ctx: WorkflowContext, order: str) -> dict[str, Any]:
    return await order_saga(ctx, order, lambda name: ctx.promise(name).value())


@order_workflow.handler("payment")
async def payment(ctx: WorkflowSharedContext, body: dict[str, Any]) -> None:
    await ctx.promise("payment").resolve(body)


@order_workflow.handler("approval")
async def approval(ctx: WorkflowSharedContext, body: dict[str, Any]) -> None:
    await ctx.promise("approval").resolve(body)


app = restate.app(services=[bench, orders, order_workflow])


def serve_granian(port: int) -> None:
    from granian import Granian  # noqa: PLC0415 - memory is measured: only the server that runs is loaded
    from granian.constants import HTTPModes, Interfaces  # noqa: PLC0415 - likewise

    Granian(
        "bench.apps.restate_worker:app",
        address="127.0.0.1",
        port=port,
        interface=Interfaces.ASGINL,
        workers=1,
        http=HTTPModes.http2,
        loop="uvloop",
        log_access=False,
        log_level="warning",
    ).serve()


def serve_hypercorn(port: int) -> None:
    import hypercorn  # noqa: PLC0415 - as above
    import hypercorn.asyncio  # noqa: PLC0415 - as above
    import uvloop  # noqa: PLC0415 - as above

    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.h2_max_concurrent_streams = config.keep_alive_max_requests = 2**31 - 1
    config.keep_alive_timeout = 2**31 - 1
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(hypercorn.asyncio.serve(app, config))


def main() -> None:
    options = Options.read()
    os.environ[OPTIONS] = " ".join(options.words())
    if options.variant == "hypercorn":
        serve_hypercorn(options.port)
    else:
        serve_granian(options.port)


if __name__ == "__main__":
    main()
