"""Measures: `python -m bench [ours|peers|turns|grown|scale|parked|report]`, on an embedded Postgres, durability on."""

import argparse

import uvloop

from bench import arena, comparison, report, runs, turns
from bench.contenders import environment
from bench.records import Results, newest
from bench.runs import Plan

PEERS = ("ours", "restate", "absurd", "dbos")
ALL = ("floor", *runs.WORKLOADS, "whole")
PARKED_BRIEFLY = 5_000
"""`make bench` is to end within three minutes."""
PARKED_MANY = 100_000
GROWN_ROWS = 1_000_000


async def ours(words: argparse.Namespace) -> Results:
    """Our system alone, in less than three minutes."""
    results = Results.begin("ours", {})
    plan = Plan(words.contenders or ("ours",), words.workloads or ALL, words.runs or 1, words.part, PARKED_BRIEFLY)
    async with arena.opened() as surroundings:
        await runs.side_by_side(surroundings, plan, results)
    return results


async def peers(words: argparse.Namespace) -> Results:
    """Ours and the peers side by side; installs the peers first."""
    environment.install()
    results = (newest("peers") if words.more else None) or Results.begin("peers", environment.versions())
    plan = Plan(words.contenders or PEERS, words.workloads or ALL, words.runs or 3, words.part)
    async with arena.opened() as surroundings:
        await runs.side_by_side(surroundings, plan, results)
    return results


async def grown(words: argparse.Namespace) -> Results:
    """Empty tables against a million finished and a million waiting sagas."""
    results = Results.begin("grown", {})
    async with arena.opened() as surroundings:
        await runs.beside_large_tables(surroundings, words.count or GROWN_ROWS, Plan((), (), 1, words.part), results)
    return results


async def scale(words: argparse.Namespace) -> Results:
    """One, two and three worker processes."""
    results = Results.begin("scale", {})
    async with arena.opened() as surroundings:
        await runs.more_processes(surroundings, (1, 2, 3), Plan((), (), 1, words.part), results)
    return results


async def parked(words: argparse.Namespace) -> Results:
    """A hundred thousand orders that wait for their approval."""
    results = Results.begin("parked", {})
    plan = Plan(words.contenders or ("ours",), ("w5",), 1, words.part, words.count or PARKED_MANY)
    async with arena.opened() as surroundings:
        await runs.side_by_side(surroundings, plan, results)
    return results


async def compare(words: argparse.Namespace) -> Results:
    """The tree as it stands and another commit, in turns."""
    results = Results.begin("turns", {"against": words.against})
    plan = Plan((), words.workloads or tuple(comparison.COMPARED), words.runs or turns.TURNS, words.part)
    async with arena.opened() as surroundings:
        await turns.against(surroundings, words.against, plan, results)
    return results


COMMANDS = {"ours": ours, "peers": peers, "turns": compare, "grown": grown, "scale": scale, "parked": parked}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("command", nargs="?", default="ours", choices=[*COMMANDS, "report"])
    parser.add_argument("--runs", type=int, help="how often everything is run")
    parser.add_argument("--part", type=float, default=1.0, help="scale every count, to try something out")
    parser.add_argument("--workloads", nargs="+", choices=ALL, help="only these")
    parser.add_argument("--contenders", nargs="+", choices=sorted(runs.CONTENDERS), help="only these")
    parser.add_argument("--against", default="HEAD", help="turns: the commit to compare with (HEAD)")
    parser.add_argument("--count", type=int, help="rows of grown, orders of parked")
    parser.add_argument("--more", action="store_true", help="peers: add to the newest results")
    parser.add_argument("--write", action="store_true", help="report: put the figures into docs/performance.md")
    words = parser.parse_args()
    if words.command == "turns" and (others := set(words.workloads or ()) - set(comparison.COMPARED)):
        parser.error(f"turns compares {', '.join(comparison.COMPARED)}, not {', '.join(sorted(others))}")
    if words.command != "report":
        report.show(uvloop.run(COMMANDS[words.command](words)))
        return
    results = report.latest()
    if results is None:
        parser.error("nothing has been measured yet")
    report.show(results)
    if words.write:
        report.write(results)


if __name__ == "__main__":
    main()
