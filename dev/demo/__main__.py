"""Tell the chapters one after another; exit non-zero as soon as anything is not as it must be."""

from services.chassis import loading

if __name__ == "__main__":
    loading.end_at_ctrl_c()

import argparse
import asyncio
import secrets
import sys
import time

import httpx

from dev import terminal, tool
from dev.demo.chapters import CHAPTERS, Tale
from dev.demo.stage import crash, stage
from dev.demo.world import DeviationError, World


async def tell_all(only: str, run: str) -> None:
    async with stage() as (layout, running), httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def crash_orchestrator() -> None:
            await crash(layout, "orchestrator", running.urls["orchestrator"])

        tale = Tale(World(running.urls, running.secrets, http), run, crash_orchestrator)
        for chapter in CHAPTERS:
            title = (chapter.__doc__ or "").strip()
            if only in title:
                terminal.heading(title)
                await chapter(tale)


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--only", default="", help="only chapters whose title contains this word")
    wanted = parser.parse_args()
    began, run = time.monotonic(), secrets.token_hex(3)
    try:
        asyncio.run(tell_all(wanted.only, run))
    except (DeviationError, httpx.HTTPError) as error:
        terminal.fail(terminal.paint(f"not as it must be: {error}", "red"))
        return 1
    terminal.heading(f"All as it must be ({time.monotonic() - began:.0f} s)")
    terminal.say(f"  Its orders and products stay, also in the catalogue: their names end in {run}.")
    return 0


if __name__ == "__main__":
    sys.exit(tool.run(main))
