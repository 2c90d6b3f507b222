"""Runs: which workloads of which contenders, each on an empty store and a fresh process."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from bench import floor
from bench.arena import Arena
from bench.contenders.absurd import Absurd
from bench.contenders.contender import Contender
from bench.contenders.dbos import Dbos
from bench.contenders.ours import Ours, OursBehindChassis
from bench.contenders.replicas import Replicas
from bench.contenders.restate import Restate, RestateOnHypercorn, RestateWorkflows
from bench.records import Record, Results
from bench.workloads import grown, orders, parked, recovery, ten_steps, whole
from bench.workloads.measures import Figures

CONTENDERS: dict[str, Callable[[Arena], Contender]] = {
    "ours": Ours,
    "ours-chassis": OursBehindChassis,
    "restate": Restate,
    "restate-hypercorn": RestateOnHypercorn,
    "restate-workflow": RestateWorkflows,
    "absurd": Absurd,
    "dbos": Dbos,
}
WORKLOADS: dict[str, Callable[[Contender, int], Awaitable[Figures]]] = {
    "w1": ten_steps.run,
    "w2": orders.run,
    "w3": lambda contender, count: orders.run(contender, count, refused=True),
    "w4": recovery.run,
    "w4 mid-flight": lambda contender, count: recovery.run(contender, count, mid_flight=True),
    "w5": parked.run,
}
LEAST = 20
"""Fewer items than this measure nothing."""
WHOLE = 300


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run: `part` scales every count; W5 takes minutes for some, and so is run once."""

    contenders: Sequence[str]
    workloads: Sequence[str]
    runs: int = 1
    part: float = 1.0
    parked: int | None = None

    def count(self, size: int) -> int:
        return max(LEAST, round(size * self.part))


async def side_by_side(arena: Arena, plan: Plan, results: Results) -> None:
    """Run the floor, then every contender; a whole run before the next, so that others' load hits all alike."""
    for run in range(plan.runs):
        if "floor" in plan.workloads:
            keep(results, Record("floor", "floor", run, 1, await floor.run(arena)))
        for workload in plan.workloads:
            if workload not in WORKLOADS or (workload == "w5" and run < plan.runs - 1):
                continue
            for name in plan.contenders:
                await _one(arena, plan, results, name, workload, run)
        if "whole" in plan.workloads:
            count = plan.count(WHOLE)
            keep(results, Record("ours", "whole", run, count, await whole.run(arena.folder / "whole", count)))


async def _one(arena: Arena, plan: Plan, results: Results, name: str, workload: str, run: int) -> None:
    """Run one workload of one contender on an empty store; what fails is told and does not end the others."""
    if workload == "w5":
        await arena.restart_postgres()
    contender = CONTENDERS[name](arena)
    contender.workload = workload
    size = contender.sizes[workload.split(maxsplit=1)[0]]
    count = plan.parked if workload == "w5" and plan.parked is not None else plan.count(size)
    arena.forget_steps()
    try:
        await contender.setup()
        figures = await WORKLOADS[workload](contender, count)
    except Exception as error:
        print(f"{name} {workload}: {type(error).__name__}: {error}", flush=True)
        if name.startswith("ours"):
            raise
    else:
        keep(results, Record(contender.name, workload, run, count, figures))
    finally:
        await contender.stop()


async def beside_large_tables(arena: Arena, rows: int, plan: Plan, results: Results) -> None:
    """Compare CPU per item with empty tables and with large ones, in turns; first right after a checkpoint."""
    empty, full = Ours(arena), Ours(arena)
    empty.database, full.database = "empty", "full"
    fresh: dict[str, dict[str, Figures]] = {}
    cpu: dict[tuple[str, str], list[float]] = {}
    try:
        await empty.setup()
        await full.setup()
        print(f"filling in {rows:,} finished and {rows:,} waiting sagas", flush=True)
        await grown.fill(full.url, rows)
        counts = {workload: plan.count(full.sizes[workload]) for workload in grown.COMPARED}
        for name, contender in (("empty", empty), ("full", full)):
            fresh[name] = await grown.turn(contender, counts, f"{name}-fresh")
            for workload, figures in fresh[name].items():
                keep(results, Record(name, f"{workload} checkpoint", 0, counts[workload], figures))
        for workload in grown.COMPARED:
            items = await grown.touch(full, workload, fresh["empty"][workload]["wal_bytes"], plan.part)
            print(f"{workload}: {items:,} items until most pages had been written", flush=True)
        counts["w1"] *= grown.LONGER
        for number in range(grown.TURNS):
            for name, contender in sorted({"empty": empty, "full": full}.items(), reverse=number % 2 == 1):
                for workload, figures in (await grown.turn(contender, counts, f"{name}-{number}")).items():
                    keep(results, Record(name, f"{workload} grown", number, counts[workload], figures))
                    cpu.setdefault((name, workload), []).append(figures["cpu_ms"])
        forgotten = await grown.forget(full)
    finally:
        await empty.stop()
        await full.stop()
    figures = {"rows": float(rows), **_ratios(cpu, fresh), **forgotten}
    keep(results, Record("ours", "grown", 0, rows, figures))


def _ratios(cpu: dict[tuple[str, str], list[float]], fresh: dict[str, dict[str, Figures]]) -> Figures:
    """Return by how much an item beside large tables costs more, turn by turn, and right after a checkpoint."""
    found: Figures = {}
    for workload in grown.COMPARED:
        turns = zip(cpu["full", workload], cpu["empty", workload], strict=True)
        found[f"{workload}_cpu_ratio"] = round(median(full / empty for full, empty in turns), 3)
        checkpoint = fresh["full"][workload]["cpu_ms"] / fresh["empty"][workload]["cpu_ms"]
        found[f"{workload}_checkpoint_cpu_ratio"] = round(checkpoint, 3)
    return {"cpu_ratio": max(found[f"{workload}_cpu_ratio"] for workload in grown.COMPARED), **found}


async def more_processes(arena: Arena, numbers: Iterable[int], plan: Plan, results: Results) -> None:
    """Run W1 and W2 with several worker processes on one database."""
    for number in numbers:
        for workload in ("w1", "w2"):
            contender = Replicas(arena, number)
            arena.forget_steps()
            count = plan.count(contender.sizes[workload])
            try:
                await contender.setup()
                figures = await WORKLOADS[workload](contender, count)
                keep(results, Record(contender.name, f"{workload} scale", 0, count, figures))
            finally:
                await contender.stop()


def keep(results: Results, record: Record) -> None:
    """Keep a record, and show the first of its figures."""
    results.add(record)
    shown = ", ".join(f"{name} {value:g}" for name, value in list(record.figures.items())[:6])
    print(f"run {record.run + 1}  {record.contender:<18} {record.workload:<14} {shown}", flush=True)
