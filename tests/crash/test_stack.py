"""`make run` as a person meets it: what dies comes back, Ctrl-C leaves nothing, and data outlives both."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from dev import ports, reset, stack_record
from dev.credentials import user_token
from dev.layout import Layout
from tests.support.tree import ROOT

PATIENCE_S = 90
ENDED = 5
FIRST_PORT = 16_000  # below those that the system gives to outgoing connections

pytestmark = pytest.mark.timeout(400)


@dataclass(frozen=True, slots=True)
class Running:
    """A stack and what it has printed so far."""

    layout: Layout
    process: asyncio.subprocess.Process
    output: Path

    def said(self) -> str:
        return self.output.read_text()

    async def interrupted(self) -> int:
        self.process.send_signal(signal.SIGINT)
        return await asyncio.wait_for(self.process.wait(), PATIENCE_S)


@pytest.fixture
def layout(folder: Path, worker_id: str) -> Layout:
    number = int(re.sub(r"\D", "", worker_id) or "0")
    return Layout.at(ports.free_base(FIRST_PORT + 1_000 * number), folder / "data")


@asynccontextmanager
async def running(layout: Layout) -> AsyncIterator[Running]:
    base = layout.part("orchestrator").port
    env = os.environ | {"STACK_PORT_BASE": str(base), "STACK_DATA": str(layout.data)}
    layout.data.mkdir(exist_ok=True)
    output = layout.data / "stack.out"
    with output.open("wb") as file:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dev.stack"), cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True
        )
    stack = Running(layout, process, output)
    try:
        await until(lambda: answered(described(layout) == process.pid or process.returncode is not None))
        assert process.returncode is None, stack.said()
        yield stack
    finally:
        if process.returncode is None:
            await stack.interrupted()


def described(layout: Layout) -> int | None:
    try:
        return stack_record.read(layout).pid
    except stack_record.NotRunningError:
        return None


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await condition():
            await asyncio.sleep(0.1)


async def answered(value: bool) -> bool:
    return value


async def is_ready(http: httpx.AsyncClient, layout: Layout) -> bool:
    try:
        answers = [await http.get(part.url + part.ready_path) for part in layout.parts]
    except httpx.HTTPError:
        return False
    return all(answer.status_code == 200 for answer in answers)


async def test_what_is_killed_comes_back_and_ctrl_c_leaves_nothing(layout: Layout) -> None:
    """After SIGKILL of all five processes the stack says so and is ready again; Ctrl-C ends it with every port free."""
    async with running(layout) as stack, httpx.AsyncClient(trust_env=False) as http:
        for part in layout.parts:
            os.kill(int(layout.pid_file(part.name).read_text()), signal.SIGKILL)
        await until(lambda: answered(stack.said().count("was started again") == ENDED))
        await until(lambda: is_ready(http, layout))
        assert stack.said().count("ended (SIGKILL)") == ENDED
        assert await stack.interrupted() == 0
        assert "stopped" in stack.said().splitlines()[-1]
    assert [part.port for part in layout.parts if ports.in_use(part.port)] == []
    assert not stack_record.path(layout).exists()


async def test_data_outlives_the_stack(layout: Layout) -> None:
    """What was stored is there after a stop, and after a start that follows a killed supervisor."""
    product = {"name": "Kept", "price": {"amount_minor": 1, "currency": "USD"}, "stock": 7}
    async with running(layout) as stack, httpx.AsyncClient(trust_env=False) as http:
        secrets = stack_record.read(layout).secrets
        headers = {"Authorization": f"Bearer {user_token(secrets, 'admin', 'admin')}"}
        stored = await http.put(f"{layout.part('session').url}/catalog/kept", json=product, headers=headers)
        assert stored.status_code == 200
        stack.process.kill()
        await stack.process.wait()
    async with running(layout) as stack, httpx.AsyncClient(trust_env=False) as http:
        assert "had left behind" in stack.said()
        catalog = (await http.get(f"{layout.part('session').url}/catalog")).json()
        assert [one["available"] for one in catalog if one["sku"] == "kept"] == [7]


async def test_a_reset_ends_what_a_killed_stack_left_behind(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing goes on without its data, and the ports are free for the next start."""
    async with running(layout) as stack:
        stack.process.kill()
        await stack.process.wait()
        monkeypatch.setenv("STACK_PORT_BASE", str(layout.part("orchestrator").port))
        monkeypatch.setenv("STACK_DATA", str(layout.data))
        server_port = int((layout.data / "postgres" / "postmaster.pid").read_text().splitlines()[3])
        assert await asyncio.to_thread(reset.main) == 0
    assert not layout.data.exists()
    assert [part.port for part in layout.parts if ports.in_use(part.port)] == []
    assert not ports.in_use(server_port)


async def test_ctrl_c_while_the_database_is_made_is_no_failure(layout: Layout) -> None:
    """It goes to everything that the terminal runs; the stack makes an end of what it began, and says nothing else."""
    env = os.environ | {"STACK_PORT_BASE": str(layout.part("orchestrator").port), "STACK_DATA": str(layout.data)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dev.stack"),
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    await until(lambda: answered(any(layout.data.glob("postgres.unfinished/base/*"))))
    os.killpg(process.pid, signal.SIGINT)
    said, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, said.decode()
    assert "✗" not in said.decode()
    assert said.decode().splitlines()[-1].endswith("stopped")
    assert not (layout.data / "postgres" / "postmaster.pid").exists()
