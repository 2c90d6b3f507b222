"""W1: workflows of ten trivial durable steps, a hundred at once; what a step costs."""

from bench.contenders.contender import Contender
from bench.usage import Reading
from bench.workloads.measures import Figures

CONCURRENCY = 100
STEPS = 10
WARM = 100


async def run(contender: Contender, count: int, *, tag: str = "run") -> Figures:
    await contender.ten_steps(WARM, CONCURRENCY, f"{tag}-warm")
    before = await Reading.of(contender)
    seconds = await contender.ten_steps(count, CONCURRENCY, tag)
    after = await Reading.of(contender)
    return {
        "workflows_per_s": round(count / seconds, 1),
        "steps_per_s": round(count * STEPS / seconds),
        **after.since(before, count),
    }
