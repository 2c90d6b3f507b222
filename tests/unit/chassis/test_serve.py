"""A service as a process: it starts, and SIGTERM ends it without breaking off what it is doing."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import uvicorn

from services.chassis.health import Health
from services.chassis.serving import _Server

ROOT = Path(__file__).parents[3]

SERVICE = """
from services.chassis import loading
loading.begin_serving()
import asyncio, gc, sys, types, weakref
from contextlib import asynccontextmanager
from fastapi import APIRouter
from services.chassis.app import build_app
from services.chassis.loop import Loop
from services.chassis.serving import run
from services.chassis.settings import ChassisSettings

router = APIRouter()
inside = asyncio.Event()

@router.get("/slow")
async def slow():
    inside.set()
    await asyncio.sleep(0.5)
    return {"done": True}

@router.get("/inside")
async def is_inside():
    await inside.wait()

class Knot:
    pass

def tied():
    knot = Knot()
    knot.itself = knot
    return weakref.ref(knot)

@router.get("/garbage")
async def garbage():
    knots = [tied() for _ in range(20_000)]
    return {"spared": gc.get_freeze_count(), "left": sum(knot() is not None for knot in knots)}

@asynccontextmanager
async def lifespan(app):
    async def tick():
        return 60.0
    loop = Loop("tick", tick, clock=app.state.chassis.clock)
    loop.start()
    yield
    await loop.stop()
    app.state.chassis.log.info("loops.stopped")

def create_app(settings):
    return build_app(name="fake", settings=settings, routers=[router], lifespan=lifespan, description="x")

module = types.ModuleType("services.fake.app")
module.create_app = create_app
sys.modules["services.fake.app"] = module
run("fake", ChassisSettings.load)
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        SERVICE,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@asynccontextmanager
async def serving() -> AsyncIterator[tuple[asyncio.subprocess.Process, httpx.AsyncClient, list[bytes]]]:
    """Run the service until it answers; give its process, a client, and the lines that it has logged."""
    port = free_port()
    process = await start({"PORT": str(port), "SHUTDOWN_GRACE_S": "10", "LOG_FORMAT": "json", "PATH": ""})
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert process.stdout is not None
            lines: list[bytes] = []
            while not any(b"Uvicorn running" in line for line in lines):
                lines.append(await asyncio.wait_for(process.stdout.readline(), 30))
                assert lines[-1], (await process.communicate())[1].decode()
            yield process, client, lines
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_sigterm_finishes_what_has_begun() -> None:
    """A request in progress is answered, the loops are stopped, the process ends with 0; every log line is JSON."""
    async with serving() as (process, client, lines):
        assert (await client.get("/readyz")).status_code == 200
        slow = asyncio.create_task(client.get("/slow"))
        await client.get("/inside")
        process.send_signal(signal.SIGTERM)
        assert (await slow).json() == {"done": True}
        out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, err.decode()
    events = [json.loads(line) for line in [*lines, *out.splitlines()]]
    names = [event["event"] for event in events]
    assert names.index("service.stopping") < names.index("loops.stopped")
    assert all(event["service"] == "fake" and event["ts"] and event["level"] for event in events)
    assert err == b""


async def test_bad_settings_are_told_without_a_traceback() -> None:
    """Every fault is on stderr, and the process ends with 2."""
    process = await start({"PORT": "0", "LOG_LEVEL": "loud", "PATH": ""})
    _, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 2
    assert b"PORT" in err
    assert b"LOG_LEVEL" in err
    assert b"Traceback" not in err


async def test_what_stays_is_spared_and_garbage_is_not() -> None:
    """What was loaded is looked through no more; what is made and left afterwards is collected as it comes."""
    async with serving() as (_, client, _):
        found = (await client.get("/garbage")).json()
    assert found["spared"] > 10_000
    assert found["left"] < 10_000


def test_a_service_is_unready_from_the_signal_on() -> None:
    """SIGTERM drains at once; a second Ctrl-C does not wait for requests."""
    health = Health()
    server = _Server(uvicorn.Config(lambda: None), health)
    server.handle_exit(signal.SIGTERM, None)
    assert health.draining
    assert (server.should_exit, server.force_exit) == (True, False)
    server.handle_exit(signal.SIGINT, None)
    assert server.force_exit
