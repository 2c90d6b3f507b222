"""After the faults: how long until everything accepted has ended, and what has not."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from dev.soak import evidence
from dev.soak.fleet import Fleet
from dev.soak.shopper import Shopper, Unanswered

PROMISED_S = 60.0
PATIENCE_S = 300.0
LOOK_S = 1.0
WHY_LENGTH_MAX = 300


@dataclass(frozen=True, slots=True)
class Settled:
    """How a run came to rest."""

    took_s: float
    unfinished: tuple[str, ...]
    """What was alive after the promised time, and neither stuck with a reason nor waiting for what is still to come."""
    stuck: tuple[str, ...]
    at_rest: bool


async def settle(
    fleet: Fleet,
    shopper: Shopper,
    customers: Sequence["asyncio.Task[None]"],
    *,
    within_s: float = PROMISED_S,
    patience_s: float = PATIENCE_S,
) -> Settled:
    """Wait until all is quiet; what is stuck is retried as an operator would, once."""
    began, ceased_at = time.monotonic(), time.time()
    unfinished: tuple[str, ...] | None = None
    stuck: dict[str, str] = {}
    while True:
        took_s = time.monotonic() - began
        if unfinished is None and took_s >= within_s:
            unfinished = await _overdue(fleet, ceased_at)
        with suppress(OSError, asyncpg.PostgresError, TimeoutError, httpx.HTTPError):
            sagas, waiting = await evidence.live(fleet)
            await _retry(shopper, sagas, stuck)
            quiet = not sagas and not waiting and all(task.done() for task in customers)
            if quiet and not await evidence.undelivered(fleet):
                return Settled(took_s, unfinished or (), tuple(stuck.values()), at_rest=True)
        if took_s > patience_s:
            return Settled(took_s, unfinished or (), tuple(stuck.values()), at_rest=False)
        await asyncio.sleep(LOOK_S)


async def _retry(shopper: Shopper, sagas: evidence.Rows, stuck: dict[str, str]) -> None:
    for saga in sagas:
        if saga["run_state"] == "stuck" and saga["id"] not in stuck:
            stuck[saga["id"]] = _named(saga)
            with suppress(Unanswered):
                await shopper.call(
                    "POST", "orchestrator", f"/sagas/{saga['id']}/retry", sub="admin", json={"reason": "soak"}
                )


async def _overdue(fleet: Fleet, ceased_at: float) -> tuple[str, ...]:
    """Name what was accepted before the faults had ended; who was accepted later has later begun to wait."""
    sagas, _ = await evidence.live(fleet)
    old = [saga for saga in sagas if saga["born"] < ceased_at]
    return tuple(_named(saga) for saga in old if saga["run_state"] != "stuck" and not _waits(saga))


def _waits(saga: Mapping[str, Any]) -> bool:
    return bool(saga["run_state"] == "waiting" and saga["later"])


def _named(saga: Mapping[str, Any]) -> str:
    why = str(saga["attention"] or "")
    state = f"{saga['phase']}, {saga['run_state']}, {saga['takeovers']} takeovers {why[:WHY_LENGTH_MAX]}".rstrip()
    return f"{saga['workflow']} {saga['key']}: {state}"
