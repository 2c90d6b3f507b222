"""A TCP proxy whose connections misbehave on demand: cut, half open, slow, a COMMIT or an answer lost.

A line has one port of ours and one or several targets, which take new connections in turn: so a line to replicas is a
load balancer too. Faults are armed from outside and hit a connection that is under way.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from dev.layout import HOST

CHUNK = 65_536
CONNECT_S = 3.0
COMMIT = b"commit\x00"
"""How a service ends a transaction, in a simple query."""

Lost = Literal["commit", "commit-answer", "answer", "request"]
"""`commit`, `request`: what was sent never arrives. `commit-answer`, `answer`: it arrives, and nobody is told."""


@dataclass(eq=False)
class Link:
    """One connection through a line."""

    client: asyncio.StreamWriter
    target: asyncio.StreamWriter
    muted: bool = False
    deaf: bool = False
    """The next answer is swallowed, and the connection ends."""

    def abort(self) -> None:
        for writer in (self.client, self.target):
            writer.transport.abort()


@dataclass(eq=False)
class Line:
    """A port of ours and where its connections go."""

    name: str
    port: int
    targets: Sequence[int]
    postgres: bool = False
    delay_s: float = 0.0
    links: set[Link] = field(default_factory=set)
    armed: list[Lost] = field(default_factory=list)
    turn: int = 0


class Proxy:
    """All lines, and what can be done to them."""

    def __init__(self, lines: Sequence[Line], dice: random.Random) -> None:
        self.lines = {line.name: line for line in lines}
        self.hits: Counter[str] = Counter()
        self._dice = dice
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for line in self.lines.values():
            self._servers.append(await asyncio.start_server(self._taker(line), HOST, line.port, backlog=1_024))

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        self.heal()
        for line in self.lines.values():
            for link in list(line.links):
                link.abort()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heal(self) -> None:
        """Let nothing go wrong any more; what is half open ends."""
        for line in self.lines.values():
            line.armed.clear()
            line.delay_s = 0.0
            for link in list(line.links):
                if link.muted or link.deaf:
                    link.abort()

    def lose(self, lost: Lost, *, postgres: bool) -> None:
        """Lose the next one of these, on whichever line it passes."""
        line = self._dice.choice(self._of(postgres=postgres))
        if len(line.armed) < 3:
            line.armed.append(lost)

    def reset(self, *, postgres: bool, count: int = 1) -> None:
        """Cut connections, for both ends."""
        for _, link in self._some(postgres=postgres, count=count):
            self.hits["cut"] += 1
            link.abort()

    def half_open(self, *, postgres: bool, seconds: float, count: int = 1) -> None:
        """Let nothing through any more, and tell neither end for `seconds`."""
        for _, link in self._some(postgres=postgres, count=count):
            self.hits["half open"] += 1
            link.muted = True
            asyncio.get_running_loop().call_later(seconds, link.abort)

    def slow(self, name: str, delay_s: float, seconds: float) -> None:
        """Hold back what passes a line, for a while."""
        line = self.lines[name]
        line.delay_s = delay_s
        self.hits["slow"] += 1

        def normal() -> None:
            line.delay_s = 0.0

        asyncio.get_running_loop().call_later(seconds, normal)

    def _of(self, *, postgres: bool) -> list[Line]:
        return [line for line in self.lines.values() if line.postgres is postgres]

    def _some(self, *, postgres: bool, count: int) -> list[tuple[Line, Link]]:
        found = [(line, link) for line in self._of(postgres=postgres) for link in line.links if not link.muted]
        return self._dice.sample(found, min(count, len(found)))

    def _taker(self, line: Line) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            if task is not None:
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._carry(line, reader, writer)
            writer.transport.abort()

        return take

    async def _carry(self, line: Line, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened = await _connect(line)
        if opened is None:
            self.hits["refused"] += 1
            return
        back, target = opened
        link = Link(writer, target)
        line.links.add(link)
        try:
            pumps = [
                asyncio.ensure_future(self._up(line, link, reader)),
                asyncio.ensure_future(self._down(line, link, back)),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.ALL_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.gather(*pumps, return_exceptions=True)
        finally:
            line.links.discard(link)
            link.abort()

    async def _up(self, line: Line, link: Link, reader: asyncio.StreamReader) -> None:
        """Carry what the client says; a half-open connection hears nothing, not even that the other end has gone."""
        while data := await _read(reader):
            if link.muted:
                continue
            if line.delay_s:
                await asyncio.sleep(line.delay_s)
            lost = self._strike(line, data)
            if lost in {"commit", "request"}:
                link.abort()
                return
            link.deaf = link.deaf or lost is not None
            link.target.write(data)
            await _drain(link.target)
        if not link.muted:
            _end(link.target)

    async def _down(self, line: Line, link: Link, reader: asyncio.StreamReader) -> None:
        while data := await _read(reader):
            if link.muted:
                continue
            if link.deaf:
                link.abort()
                return
            if line.delay_s:
                await asyncio.sleep(line.delay_s)
            link.client.write(data)
            await _drain(link.client)
        if not link.muted:
            _end(link.client)

    def _strike(self, line: Line, data: bytes) -> Lost | None:
        """Choose the armed loss that this piece suffers."""
        for lost in line.armed:
            if not lost.startswith("commit") or COMMIT in data:
                line.armed.remove(lost)
                self.hits[f"{'postgres' if line.postgres else 'http'} lost {lost}"] += 1
                return lost
        return None


async def _connect(line: Line) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
    """Reach a target: the next one in turn that listens, as a load balancer does."""
    for _ in line.targets:
        port = line.targets[line.turn % len(line.targets)]
        line.turn += 1
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                return await asyncio.open_connection(HOST, port)
    return None


async def _read(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read(CHUNK)
    except OSError:
        return b""


async def _drain(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        await writer.drain()


def _end(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()
