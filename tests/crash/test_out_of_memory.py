"""A replica that takes more memory than there is: it is killed in the middle of a call, as the kernel does it."""

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from services.chassis.postgres.database import Database
from services.chassis.postgres.sql import Statement
from services.orchestrator.engine import StartRequest, WorkflowDefinition
from tests.support.hungry_replica import Ledger, engine_on, greedy, greedy_once, modest
from tests.support.tree import ROOT

MEMORY_MAX_KB: Final = 300 * 1024
LOOK_S: Final = 0.01
PATIENCE_S: Final = 90
NEIGHBOURS: Final = 6
DEATHS_MAX: Final = 5
"""How many replicas a saga may cost."""
AT_REST: Final = Statement.of("select count(*) = 0 from sagas where run_state not in ('done', 'stuck')")

pytestmark = pytest.mark.timeout(300)


@asynccontextmanager
async def replica(url: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a replica, and whatever comes end it."""
    words = (sys.executable, "-m", "tests.support.hungry_replica", url, str(folder))
    with (folder / "replica.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def resident_kb(pid: int) -> int:
    """Return how much memory a process really has."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS")), 0)


async def until_killed_or_done(process: asyncio.subprocess.Process, database: Database) -> bool:
    """Kill a replica that has more memory than there is; False once every saga is at rest without that."""
    while process.returncode is None:
        if resident_kb(process.pid) > MEMORY_MAX_KB:
            process.send_signal(signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
            return True
        async with database.autocommit() as conn:
            if await conn.scalar(AT_REST):
                return False
        await asyncio.sleep(LOOK_S)
    raise AssertionError(f"the replica ended by itself: {process.returncode}")


@pytest.mark.scenario("RC14", "R12", "G3", "G4", "G19")
async def test_who_takes_all_memory_is_killed_and_costs_the_others_nothing(
    orchestrator_database: Database, orchestrator_url: str, tmp_path: Path
) -> None:
    """Killed for want of memory, a replica loses nothing; a saga that always takes all is parked, the others end."""
    ledger = Ledger(tmp_path / "ledger")
    operations = engine_on(orchestrator_database, ledger).operations

    async def start(definition: WorkflowDefinition, name: str) -> str:
        return (await operations.start(StartRequest(workflow=definition.name, key=name, input=name))).saga_id

    neighbours = [await start(modest, f"n{number}") for number in range(NEIGHBOURS)]
    once, always = await start(greedy_once, "once"), await start(greedy, "always")
    deaths, alive = 0, True
    async with asyncio.timeout(PATIENCE_S):
        while alive:
            async with replica(orchestrator_url, tmp_path) as process:
                alive = await until_killed_or_done(process, orchestrator_database)
                deaths += alive
    parked = await operations.get(always)
    assert (parked.status, parked.attention and parked.attention.reason) == ("stuck", "poison")
    assert {(await operations.get(saga_id)).status for saga_id in (*neighbours, once)} == {"completed"}
    calls = ledger.entries()
    assert len({key for _, key in calls}) == 2 * NEIGHBOURS + 2, "every attempt of a call has its key"
    counts = Counter(name for name, _ in calls)
    assert 1 < counts["always"] <= DEATHS_MAX <= deaths
    assert 1 < counts["once"] <= deaths
