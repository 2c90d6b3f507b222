"""The stack that the demo is played on: the one that runs, or one of its own for as long as it takes."""

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx

from dev import ports, stack_record, terminal
from dev.demo.world import PATIENCE_S, POLL_S, DeviationError
from dev.layout import ROOT, Layout
from dev.stack_record import NotRunningError, Record

START_S = 120.0
STOP_S = 60.0


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Layout, Record]]:
    """Give the running stack; where none runs, start one, and stop it at the end."""
    layout = Layout.read()
    try:
        yield layout, stack_record.read(layout)
    except NotRunningError:
        pass
    else:
        return
    terminal.done("no stack runs: the demo starts its own")
    async with own_stack(layout.data / "demo") as own:
        yield own


@asynccontextmanager
async def own_stack(
    data: Path, settings: Mapping[str, str] | None = None, *, first_port: int = 18_000
) -> AsyncIterator[tuple[Layout, Record]]:
    """Start a stack beside whatever else runs, with further settings, and stop it at the end."""
    own = Layout.at(ports.free_base(first_port), data)
    base = str(own.part("orchestrator").port)
    terminal.done(f"a stack of its own starts on ports from {base}")
    env = os.environ | dict(settings or {}) | {"STACK_PORT_BASE": base, "STACK_DATA": str(own.data)}
    own.run.mkdir(parents=True, exist_ok=True)
    with own.log("stack").open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dev.stack"),
            cwd=ROOT,
            env=env,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield own, await _ready(own, process)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGINT)
        await asyncio.wait_for(process.wait(), STOP_S)


async def _ready(own: Layout, process: asyncio.subprocess.Process) -> Record:
    deadline = time.monotonic() + START_S
    while process.returncode is None and time.monotonic() < deadline:
        with suppress(NotRunningError):
            return stack_record.read(own)
        await asyncio.sleep(POLL_S)
    raise DeviationError(f"the stack does not start:\n{own.log('stack').read_text()[-3000:]}")


async def crash(layout: Layout, name: str, url: str) -> None:
    """Kill a service with SIGKILL, and wait until its supervisor has brought it back."""
    old = int(layout.pid_file(name).read_text())
    os.kill(old, signal.SIGKILL)
    terminal.done(f"kill -9 {old}: the {name} is gone")
    deadline = time.monotonic() + PATIENCE_S
    while int(layout.pid_file(name).read_text()) == old:
        if time.monotonic() > deadline:
            raise DeviationError(f"the {name} was not started again")
        await asyncio.sleep(POLL_S)
    async with httpx.AsyncClient(trust_env=False) as http:
        while time.monotonic() < deadline:
            with suppress(httpx.HTTPError):
                if (await http.get(f"{url}/readyz")).status_code == 200:
                    terminal.done(f"the {name} is back (pid {layout.pid_file(name).read_text()})")
                    return
            await asyncio.sleep(POLL_S)
    raise DeviationError(f"the {name} is not ready again after {PATIENCE_S:.0f} s")
