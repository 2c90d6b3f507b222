"""Two commits in turns, each turn on an empty store and fresh processes: what a change has cost or saved."""

from pathlib import Path

from bench.arena import Arena
from bench.comparison import BEFORE, NOW
from bench.contenders.revisions import Revision, tree_of
from bench.processes import ROOT
from bench.records import Record, Results
from bench.runs import WHOLE, WORKLOADS, Plan, keep
from bench.workloads import whole
from bench.workloads.measures import Figures

TURNS = 6


async def against(arena: Arena, revision: str, plan: Plan, results: Results) -> None:
    """Run the tree as it stands and a commit, whoever was first in one turn second in the next."""
    trees = {BEFORE: tree_of(revision), NOW: ROOT}
    for turn in range(plan.runs):
        for workload in plan.workloads:
            for name in sorted(trees, reverse=turn % 2 == 1):
                count, figures = await _turn(arena, name, trees[name], workload, plan)
                keep(results, Record(name, workload, turn, count, figures))


async def _turn(arena: Arena, name: str, tree: Path, workload: str, plan: Plan) -> tuple[int, Figures]:
    if workload == "whole":
        count = plan.count(WHOLE)
        return count, await whole.run(arena.folder / "whole", count, tree)
    contender = Revision(arena, name, tree)
    count = plan.count(contender.sizes[workload])
    arena.forget_steps()
    try:
        await contender.setup()
        return count, await WORKLOADS[workload](contender, count)
    finally:
        await contender.stop()
