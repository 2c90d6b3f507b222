"""Each service starts, and is ready, with the other services' folders removed."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import httpx
import pytest

from dev.postgres import free_port
from tests.support.tree import SERVICES, copy_alone

PATIENCE_S = 60


async def ready(url: str, process: asyncio.subprocess.Process) -> bool:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(PATIENCE_S):
        while process.returncode is None:
            try:
                if (await http.get(f"{url}/readyz", timeout=5)).status_code == 200:
                    return True
            except httpx.HTTPError:
                pass
            await asyncio.sleep(0.1)
    return False


@pytest.fixture
def addresses(session_url: str, shipping_url: str, orchestrator_url: str) -> dict[str, str]:
    return {"session": session_url, "shipping": shipping_url, "orchestrator": orchestrator_url}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_runs_alone(service: str, tmp_path: Path, addresses: dict[str, str]) -> None:
    """As a process, from a tree without the others, a service becomes ready, and ends well when it is told to."""
    copy_alone(service, tmp_path)
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "PORT": str(port),
        "LOG_FORMAT": "json",
        f"{service.upper()}_DATABASE_URL": addresses[service],
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", f"services.{service}"), cwd=tmp_path, env=env, stdout=output, stderr=output
        )
    try:
        assert await ready(f"http://127.0.0.1:{port}", process), log.read_text()[-3000:]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), PATIENCE_S) in (0, -signal.SIGTERM)
        assert "Application shutdown complete" in log.read_text()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
