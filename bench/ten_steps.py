"""W1: a workflow of ten trivial durable steps, many at once from one worker; shows what a step costs."""

import asyncio
from dataclasses import dataclass
from typing import Any

from services.chassis.clock import Clock
from services.chassis.db import Database
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import Engine, Registry, StartRequest, Step, WorkflowContext, workflow

STEPS = 10


async def tiny(step: Step[None], number: int) -> dict[str, Any]:
    """Give a small result; nothing is called."""
    return {"i": number, "ok": step.attempt > 0}


@workflow("ten-steps")
async def ten_steps(ctx: WorkflowContext, start: int) -> int:
    """Add up the results of ten steps."""
    total = start
    for number in range(STEPS):
        result = await ctx.run(tiny, number)
        total += result["i"]
    return total


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many workflows, and how many at once."""

    count: int
    concurrency: int


async def run(url: str, sizes: Sizes, tag: str) -> float:
    """Run the workload and give its seconds; every result is checked."""
    clock = Clock()
    database = Database(url, application_name="bench engine", pool_size=5)
    requests = Database(url, application_name="bench requests", pool_size=5)
    engine = Engine(
        registry=Registry([ten_steps]),
        codec=PydanticCodec(),
        clients=None,
        database=database,
        operations_database=requests,
        clock=clock,
    )
    await database.calibrate(clock)
    await engine.start()
    numbers = iter(range(sizes.count))

    async def lane() -> None:
        for number in numbers:
            started = await engine.operations.start(StartRequest("ten-steps", f"{tag}-{number}", 0))
            end = await engine.operations.result(started.saga_id, wait_s=60)
            if end.output != sum(range(STEPS)):
                raise AssertionError(f"workflow {number} is {end.status}, with {end.output}")

    before = clock.monotonic()
    await asyncio.gather(*(lane() for _ in range(sizes.concurrency)))
    seconds = clock.monotonic() - before
    await engine.stop()
    await database.close()
    await requests.close()
    return seconds
