"""A process of the stack is started again when it dies, and stays away once it was stopped."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from dev import ports
from dev.child import Child, ChildError, end_leftovers
from dev.layout import Layout, Part
from dev.postgres import free_port

SERVER = """
import http.server, os
class Ready(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Ready).serve_forever()
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "probe_server.py").write_text(SERVER)
    (tmp_path / "probe_broken.py").write_text("raise SystemExit('cannot start: no reason')")
    part = Part("probe", "probe_server", free_port(), "/")
    layout = Layout(data=tmp_path, parts=(part,))
    layout.run.mkdir()
    return layout


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as client:
        yield client


def child_of(layout: Layout, part: Part, said: list[str]) -> Child:
    env = os.environ | {"PYTHONPATH": str(layout.data), "PORT": str(part.port)}
    return Child(layout, part, env, lambda kind, text: said.append(f"{kind}: {text}"))


async def test_a_killed_process_comes_back(layout: Layout, http: httpx.AsyncClient) -> None:
    """After SIGKILL the same part runs as another process, a second later, and the person is told both."""
    said: list[str] = []
    child = child_of(layout, layout.parts[0], said)
    await child.start()
    await child.ready(http)
    first = int(layout.pid_file("probe").read_text())
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(20):
        while int(layout.pid_file("probe").read_text()) == first:
            await asyncio.sleep(0.05)
    await child.ready(http)
    await child.stop()
    assert said[0].startswith("fail: probe ended (SIGKILL)")
    assert said[1].startswith("done: probe was started again")
    assert not layout.pid_file("probe").exists()
    assert not ports.in_use(layout.parts[0].port)


async def test_a_process_that_cannot_start_is_given_up(layout: Layout, http: httpx.AsyncClient) -> None:
    """A part that dies again and again before it was ever ready ends the start, with the end of its log."""
    part = Part("probe", "probe_broken", layout.parts[0].port, "/")
    child = child_of(layout, part, [])
    await child.start()
    with pytest.raises(ChildError, match="cannot start: no reason"):
        await child.ready(http)
    await child.stop()


async def test_what_a_killed_stack_left_is_ended(layout: Layout, http: httpx.AsyncClient) -> None:
    """A process whose supervisor is gone is ended at the next start; another program that has its pid is not."""
    child = child_of(layout, layout.parts[0], [])
    await child.start()
    await child.ready(http)
    await child.stop_watching()
    assert await asyncio.to_thread(end_leftovers, layout) == ["probe"]
    layout.pid_file("probe").write_text(str(os.getpid()))
    assert end_leftovers(layout) == []
    await child.stop()


@pytest.mark.parametrize("error", [FileNotFoundError, ProcessLookupError])
def test_what_ends_while_it_is_looked_at_is_no_leftover(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, error: type[OSError]
) -> None:
    """It was there when it was asked for, and is gone when its command is read."""

    def gone(_: Path) -> bytes:
        raise error

    layout.pid_file("probe").parent.mkdir(parents=True, exist_ok=True)
    layout.pid_file("probe").write_text(str(os.getpid()))
    monkeypatch.setattr(Path, "read_bytes", gone)
    assert end_leftovers(layout) == []
    assert not layout.pid_file("probe").exists()
