"""`make run`: the whole system with one command, and everything that starting and stopping it takes.

Postgres first, then the newest schema, then the services and the simulators as processes of their own, side by side.
A process that dies is started again a second later. Ctrl-C, or SIGTERM, stops everything in the opposite order.
"""

from services.chassis import loading

if __name__ == "__main__":
    loading.end_at_ctrl_c()

import asyncio
import contextlib
import os
import signal
import sys
import time
from contextlib import AsyncExitStack

import httpx

from dev import ports, stack_record, terminal, tool, welcome
from dev.child import Child, end_leftovers
from dev.credentials import secrets_of
from dev.data_lock import only_one
from dev.databases import Databases, keep_running, provided
from dev.layout import Layout, Part
from dev.processes import KEEPS_BYTECODE
from migrations.runner import upgrade

SIMULATORS = ("payment", "carrier")


def report(kind: str, text: str) -> None:
    {"done": terminal.done, "fail": terminal.fail, "warn": terminal.warn}.get(kind, terminal.busy)(text)


def environment(layout: Layout, part: Part, databases: Databases) -> dict[str, str]:
    """Return what a part finds in its environment: ours, what it must know of the others, and no other's database."""
    foreign = {other.database_variable for other in layout.databases}
    inherited = {name: value for name, value in os.environ.items() if name not in foreign}
    own = {"HOST": "127.0.0.1", "PORT": str(part.port), "PYTHONUNBUFFERED": "1"} | KEEPS_BYTECODE
    if part.database:
        own[part.database_variable] = databases.urls[part.name]
    if part.name in SIMULATORS:
        own["SIMULATOR_DATA"] = str(layout.data / part.name)
    log_format = {"LOG_FORMAT": os.environ.get("LOG_FORMAT") or "json"}
    return layout.addresses() | inherited | log_format | own


async def migrate(databases: Databases) -> None:
    began = time.monotonic()
    changed = [service for service, url in databases.urls.items() if await upgrade(service, url)]
    what = f"migrated {', '.join(changed)}" if changed else "schemas are the newest"
    terminal.done(f"{what} {terminal.paint(f'({time.monotonic() - began:.1f} s)', 'dim')}")


async def bring_up(children: list[Child]) -> None:
    """Start these side by side and wait until each is ready."""

    async def one(child: Child, http: httpx.AsyncClient) -> None:
        took = await child.ready(http)
        part = child.part
        terminal.done(f"{part.name:<12} {part.url} {terminal.paint(f'({took:.1f} s)', 'dim')}")

    for child in children:
        await child.start()
    try:
        async with httpx.AsyncClient(trust_env=False) as http, asyncio.TaskGroup() as group:
            for child in children:
                group.create_task(one(child, http))
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from None


async def stack(layout: Layout) -> None:
    """Run until asked to stop."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    began = time.monotonic()
    terminal.heading("Order Saga: starting")
    stack_record.remove(layout)
    if left := end_leftovers(layout):
        terminal.warn(f"ended what a killed stack had left behind: {', '.join(left)}")
    ports.check(layout)
    async with AsyncExitStack() as cleanup:
        cleanup.callback(lambda: terminal.done("stopped"))
        databases = await cleanup.enter_async_context(provided(layout))
        if databases.server is not None:
            terminal.done(f"{'postgres':<12} 127.0.0.1:{databases.server.port}, data in {databases.server.data}")
        work = asyncio.create_task(run(layout, databases, stopping, began, cleanup), name="stack")
        stop = asyncio.create_task(stopping.wait(), name="stop")
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if stopping.is_set() and not work.done():
            work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
        terminal.heading("Order Saga: stopping")


async def run(
    layout: Layout, databases: Databases, stopping: asyncio.Event, began: float, cleanup: AsyncExitStack
) -> None:
    children = [Child(layout, part, environment(layout, part, databases), report) for part in layout.parts]
    cleanup.push_async_callback(stop_all, children)
    await migrate(databases)
    await bring_up(children)
    secrets = secrets_of(os.environ)
    urls = {part.name: part.url for part in layout.parts}
    stack_record.write(layout, stack_record.Record(os.getpid(), urls, databases.urls, secrets))
    cleanup.callback(stack_record.remove, layout)
    welcome.show(layout, stack_record.read(layout), time.monotonic() - began)
    if databases.server is not None:
        await keep_running(databases.server, report)
    await stopping.wait()


async def stop_all(children: list[Child]) -> None:
    """Services first, so that nothing of theirs is cut off from the simulators."""
    simulators = [child for child in children if child.part.name in SIMULATORS]
    services = [child for child in children if child not in simulators]
    for group in (services, simulators):
        await asyncio.gather(*(child.stop() for child in group))
        terminal.done(f"{', '.join(child.part.name for child in group)} stopped")


def main() -> int:
    layout = Layout.read()
    with only_one(layout):
        asyncio.run(stack(layout))
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
