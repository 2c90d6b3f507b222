"""A process with a replica of the engine, whose steps may take memory until somebody ends it.

`python -m tests.support.hungry_replica URL FOLDER`: it notes every call in `FOLDER/ledger`, outside of the database,
and runs until it is killed.
"""

import asyncio
import os
import resource
import sys
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, EngineSettings, Registry, Step, WorkflowContext, workflow

NAME: Final = "hungry"
"""Its own, and that of the process that comes after it, which takes its sagas over at once."""
BITE: Final = 8 * 1024**2
BITE_S: Final = 0.005
ADDRESS_SPACE_MAX: Final = 3 * 1024**3
"""Should nobody end it in time, it is refused memory long before the machine has none."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was called, and under which key; it outlives every process."""

    file: Path

    def note(self, name: str, key: str) -> None:
        with self.file.open("a") as ledger:
            ledger.write(f"{name} {key}\n")
            ledger.flush()
            os.fsync(ledger.fileno())

    def entries(self) -> list[tuple[str, str]]:
        """Return name and key of every call, oldest first."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [(name, key) for name, _, key in (line.partition(" ") for line in lines)]


async def eat(step: Step[Ledger], name: str, bites: int) -> str:
    """Do something outside, then take memory: for so many bites, or for ever at a negative number."""
    step.clients.note(name, step.key)
    eaten: list[bytes] = []
    while bites < 0 or len(eaten) < bites:
        eaten.append(b"x" * BITE)
        await asyncio.sleep(BITE_S)
    return name


async def eat_at_first(step: Step[Ledger], name: str) -> str:
    """As `eat` without an end, but for the attempts that follow the first."""
    first = not any(entry == name for entry, _ in step.clients.entries())
    return await eat(step, name, -1 if first else 0)


@workflow("modest", version=1)
async def modest(ctx: WorkflowContext, name: str) -> str:
    """A call, a pause, a call that takes a while."""
    await ctx.run(eat, f"{name}-first", 0)
    await ctx.sleep(timedelta(milliseconds=200))
    return await ctx.run(eat, f"{name}-second", 2)


@workflow("greedy-once", version=1)
async def greedy_once(ctx: WorkflowContext, name: str) -> str:
    """A call whose first attempt takes all memory."""
    return await ctx.run(eat_at_first, name)


@workflow("greedy", version=1)
async def greedy(ctx: WorkflowContext, name: str) -> str:
    """A call each of whose attempts takes all memory."""
    return await ctx.run(eat, name, -1, timeout=timedelta(hours=1))


def engine_on(database: Database, ledger: Ledger) -> Engine:
    """Return the engine of such a replica."""
    return Engine(
        registry=Registry([modest, greedy_once, greedy]),
        codec=PydanticCodec(),
        clients=ledger,
        database=database,
        clock=Clock(),
        settings=EngineSettings(replica=NAME),
    )


async def main(url: str, folder: Path) -> None:
    """Run until the end."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE_MAX, ADDRESS_SPACE_MAX))
    await engine_on(Database(url, application_name=NAME), Ledger(folder / "ledger")).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
