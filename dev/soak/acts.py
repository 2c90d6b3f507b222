"""How each fault is done; `luck`, from 0 to 1, decides which replica it hits and how long it lasts."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

import asyncpg

from dev.soak.fleet import REPLICAS, Fleet

LEASE_S = 5.0
TERMINATED = """
select pg_terminate_backend(pid) from pg_stat_activity
where backend_type = 'client backend' and usename <> current_user and datname = any($1) order by random() limit 1
"""


async def kill(fleet: Fleet, luck: float) -> None:
    fleet.kill(_replica(fleet, luck))


async def freeze(fleet: Fleet, luck: float) -> None:
    """Longer than the lease, so that somebody else goes on with what the frozen one held."""
    await fleet.freeze(_replica(fleet, luck), LEASE_S + 0.5 + 3 * (luck * 997 % 1))


async def kill_orchestrator(fleet: Fleet, luck: float) -> None:
    fleet.kill(f"orchestrator-{1 + int(luck * REPLICAS['orchestrator'])}")


async def freeze_orchestrator(fleet: Fleet, luck: float) -> None:
    name = f"orchestrator-{1 + int(luck * REPLICAS['orchestrator'])}"
    await fleet.freeze(name, LEASE_S + 0.5 + 3 * (luck * 997 % 1))


async def terminate_backend(fleet: Fleet, _luck: float) -> None:
    connection = await fleet.admin()
    try:
        await connection.execute("set statement_timeout = '3s'")
        await connection.fetch(TERMINATED, list(REPLICAS))
    finally:
        connection.terminate()


async def restart_postgres(fleet: Fleet, luck: float) -> None:
    async with fleet.restarting:
        await fleet.restart_postgres(0.2 + 2 * luck)


async def stop_postgres_long(fleet: Fleet, _luck: float) -> None:
    """Down for half a minute."""
    async with fleet.restarting:
        await fleet.restart_postgres(30)


async def exhaust_connections(fleet: Fleet, luck: float) -> None:
    """Take every connection that the server has to give, and hold them for some seconds."""
    taken: list[asyncpg.Connection[asyncpg.Record]] = []
    try:
        with suppress(asyncpg.TooManyConnectionsError, OSError, TimeoutError):
            while True:
                taken.append(await asyncpg.connect(_of_role(fleet), timeout=3))
        await asyncio.sleep(2 + 4 * luck)
    finally:
        for connection in taken:
            connection.terminate()


async def lose_commit(fleet: Fleet, _luck: float) -> None:
    fleet.proxy.lose("commit", postgres=True)


async def lose_commit_answer(fleet: Fleet, _luck: float) -> None:
    fleet.proxy.lose("commit-answer", postgres=True)


async def lose_database_answer(fleet: Fleet, _luck: float) -> None:
    fleet.proxy.lose("answer", postgres=True)


async def lose_request(fleet: Fleet, _luck: float) -> None:
    fleet.proxy.lose("request", postgres=False)


async def lose_answer(fleet: Fleet, _luck: float) -> None:
    fleet.proxy.lose("answer", postgres=False)


async def cut(fleet: Fleet, luck: float) -> None:
    fleet.proxy.reset(postgres=luck < 0.5, count=3)


async def half_open(fleet: Fleet, luck: float) -> None:
    fleet.proxy.half_open(postgres=luck < 0.5, seconds=5 + 30 * luck, count=2)


async def slow(fleet: Fleet, luck: float) -> None:
    names = [line.name for line in fleet.proxy.lines.values() if not line.postgres]
    fleet.proxy.slow(names[int(luck * len(names))], 0.05 + luck, 4)


def _replica(fleet: Fleet, luck: float) -> str:
    names = fleet.replicas()
    return names[int(luck * len(names))]


def _of_role(fleet: Fleet) -> str:
    """Return an address without the superuser's reserve."""
    server = fleet.server
    return f"postgresql://shipping_1:{server.password}@127.0.0.1:{server.port}/shipping"


ACTS: Mapping[str, Callable[[Fleet, float], Awaitable[None]]] = {
    "kill": kill,
    "freeze": freeze,
    "kill orchestrator": kill_orchestrator,
    "freeze orchestrator": freeze_orchestrator,
    "terminate backend": terminate_backend,
    "postgres restart": restart_postgres,
    "postgres down 30 s": stop_postgres_long,
    "exhaust connections": exhaust_connections,
    "lose a COMMIT": lose_commit,
    "lose a COMMIT's answer": lose_commit_answer,
    "lose an answer of the database": lose_database_answer,
    "lose a request": lose_request,
    "lose an answer": lose_answer,
    "cut connections": cut,
    "half-open connections": half_open,
    "slow line": slow,
}
