"""A service whose database is away: it says so as it waits, stops when told to, and ends with one clear line."""

import asyncio
import json
import signal
import sys
from typing import Any

import pytest

from services.chassis.postgres.connecting import place_of
from tests.support.tree import ROOT

SECRET = "p4ssw0rd"
AWAY = f"postgresql://alice:{SECRET}@127.0.0.1:1/orders"
SERVICE = """
import sys, types
from contextlib import asynccontextmanager
from services.chassis.app import build_app
from services.chassis.postgres.database import Database
from services.chassis.serving import run
from services.chassis.settings import ChassisSettings

url, patience_s = sys.argv[1], float(sys.argv[2])

@asynccontextmanager
async def lifespan(app):
    database = Database(url, application_name="fake")
    clock = app.state.chassis.clock
    await database.wait_until_usable(clock, setting="FAKE_DATABASE_URL", schema="", patience_s=patience_s)
    yield

def create_app(settings):
    return build_app(name="fake", settings=settings, routers=[], lifespan=lifespan, description="x")

module = types.ModuleType("services.fake.app")
module.create_app = create_app
sys.modules["services.fake.app"] = module
run("fake", ChassisSettings.load)
"""


async def start(*, patience_s: float, url: str = AWAY) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVICE, url, str(patience_s)),
        cwd=ROOT,
        env={"LOG_FORMAT": "json", "PATH": ""},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def ended(process: asyncio.subprocess.Process) -> tuple[list[dict[str, Any]], str]:
    """Wait for its end; give the lines that it has logged since, and all that it has said."""
    try:
        out, err = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
    said = (out + err).decode()
    assert SECRET not in said
    return [json.loads(line) for line in out.splitlines()], said


async def test_a_database_that_is_away_is_told_of_with_every_try() -> None:
    """Each try that fails is a line with address, kind of error and pause; the end is one line that says what to do."""
    lines, said = await ended(process := await start(patience_s=0.3))
    tries = [line for line in lines if line["event"] == "database.unreachable"]
    assert len(tries) >= 2
    assert all(line["level"] == "warning" and line["retry_in_s"] > 0 for line in tries)
    assert {(line["host"], line["port"], line["database"], line["error"]) for line in tries} == {
        ("127.0.0.1", 1, "orders", "ConnectionRefusedError")
    }
    [end] = [line for line in lines if line["event"] == "service.start_failed"]
    assert end["level"] == "error"
    assert "FAKE_DATABASE_URL" in end["reason"]
    assert "127.0.0.1:1" in end["reason"]
    assert "Traceback" not in said
    assert process.returncode == 3


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
async def test_who_waits_for_a_database_stops_when_told_to(told: signal.Signals) -> None:
    """A signal ends the wait at once, without a traceback, and with 0 as always."""
    process = await start(patience_s=60)
    assert process.stdout is not None
    while b"database.unreachable" not in (line := await asyncio.wait_for(process.stdout.readline(), 30)):
        assert line
    process.send_signal(told)
    lines, said = await ended(process)
    assert process.returncode == 0, said
    assert "service.start_abandoned" in [line["event"] for line in lines]
    assert "Traceback" not in said


async def test_an_address_that_cannot_be_right_is_not_tried_again() -> None:
    """What no waiting mends ends the start at once, by the same line."""
    process = await start(patience_s=60, url=f"postgresql://alice:{SECRET}@127.0.0.1:1/orders?sslmode=nonsense")
    lines, said = await ended(process)
    [end] = [line for line in lines if line["event"] == "service.start_failed"]
    assert "FAKE_DATABASE_URL" in end["reason"]
    assert "Traceback" not in said
    assert process.returncode == 3


@pytest.mark.parametrize(
    ("url", "place"),
    [
        (AWAY, ("127.0.0.1", 1, "orders")),
        ("postgresql://db.example/orders?sslmode=verify-full", ("db.example", None, "orders")),
        (f"postgresql:///orders?host=/run/postgresql&user=a&password={SECRET}", ("/run/postgresql", None, "orders")),
        (f"postgresql://a:{SECRET}@one:1,two:2/orders", ("one:1,two:2", None, "orders")),
        (f"postgresql://a:x/{SECRET}@db/orders", ("a", None, None)),
        (f"postgresql://a:{SECRET}#1@db/orders", ("a", None, None)),
    ],
)
def test_a_place_is_told_without_who_goes_there(url: str, place: tuple[object, ...]) -> None:
    """Whatever form an address has, nothing of its password is taken for another part of it."""
    found = place_of(url)
    assert (found["host"], found["port"], found["database"]) == place
    assert SECRET not in str(found)
