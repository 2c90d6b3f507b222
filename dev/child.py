"""One process of the stack: started, watched, started again a second after it died, stopped in order."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping

import httpx

from dev.layout import ROOT, Layout, Part
from dev.processes import runs

PAUSE_S = 1.0
STOP_S = 15.0
READY_S = 60.0
FALSE_STARTS = 3
"""How often a process may die before it was ever ready."""
POLL_S = 0.05


class ChildError(Exception):
    """A process of the stack does not come up; the message holds the end of its log."""


class Child:
    """A part of the stack as a process of its own; its output goes to its log, its pid to its pid file."""

    def __init__(self, layout: Layout, part: Part, env: Mapping[str, str], report: Callable[[str, str], None]) -> None:
        self.part = part
        self._layout = layout
        self._env = dict(env)
        self._report = report
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._was_ready = False

    async def start(self) -> None:
        self._layout.log(self.part.name).write_bytes(b"")
        await self._spawn()
        self._watching = asyncio.create_task(self._watch(), name=f"watch {self.part.name}")

    async def ready(self, http: httpx.AsyncClient, patience_s: float = READY_S) -> float:
        """Wait until it answers that it is ready; return how many seconds that took."""
        began = time.monotonic()
        last = "no answer yet"
        while time.monotonic() - began < patience_s:
            try:
                answer = await http.get(self.part.url + self.part.ready_path, timeout=2)
                if answer.status_code == 200:
                    self._was_ready = True
                    return time.monotonic() - began
                last = f"{answer.status_code} {answer.text[:300]}"
            except httpx.HTTPError as error:
                last = f"{type(error).__name__} {error}"
            if self._watching is not None and self._watching.done():
                await self._watching  # raises what ended the watch
            await asyncio.sleep(POLL_S)
        raise ChildError(f"{self.part.name} is not ready after {patience_s:.0f} s ({last})\n{self.log_end()}")

    def log_end(self, lines: int = 15) -> str:
        log = self._layout.log(self.part.name)
        text = log.read_text(errors="replace") if log.exists() else ""
        return f"the end of {log}:\n" + "\n".join(text.splitlines()[-lines:])

    async def stop_watching(self) -> None:
        """Let it live on without being started again."""
        if self._watching is not None:
            self._watching.cancel()
            with contextlib.suppress(asyncio.CancelledError, ChildError):
                await self._watching

    async def stop(self) -> None:
        """Ask it to end, wait, end it by force if it does not."""
        await self.stop_watching()
        process = self._process
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_S)
            except TimeoutError:
                self._report("fail", f"{self.part.name} did not end within {STOP_S:.0f} s and was killed")
                process.kill()
                await process.wait()
        self._layout.pid_file(self.part.name).unlink(missing_ok=True)

    async def _spawn(self) -> None:
        with self._layout.log(self.part.name).open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", self.part.module),
                cwd=ROOT,
                env=self._env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the supervisor, which stops everything in order
            )
        unfinished = self._layout.pid_file(self.part.name).with_suffix(".unfinished")
        unfinished.write_text(str(self._process.pid))
        unfinished.rename(self._layout.pid_file(self.part.name))

    async def _watch(self) -> None:
        deaths = 0
        while self._process is not None:
            code = await self._process.wait()
            deaths += 1
            if deaths == FALSE_STARTS and not self._was_ready:
                raise ChildError(f"{self.part.name} does not start (exit code {code})\n{self.log_end()}")
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            self._report("fail", f"{self.part.name} ended ({how}); it is started again in {PAUSE_S:.0f} s")
            if code > 0:
                self._report("log", self.log_end(5))
            await asyncio.sleep(PAUSE_S)
            await self._spawn()
            self._report("done", f"{self.part.name} was started again (pid {self._process.pid})")


def end_leftovers(layout: Layout) -> list[str]:
    """End processes of a stack whose supervisor was killed; return their names."""
    ended = []
    for part in layout.parts:
        file = layout.pid_file(part.name)
        if file.exists():
            pid = int(file.read_text())
            if runs(pid, part.module):
                _signal(pid, signal.SIGTERM)
                deadline = time.monotonic() + STOP_S
                while runs(pid, part.module) and time.monotonic() < deadline:
                    time.sleep(POLL_S)
                if runs(pid, part.module):
                    _signal(pid, signal.SIGKILL)
                ended.append(part.name)
            file.unlink()
    return ended


def _signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
