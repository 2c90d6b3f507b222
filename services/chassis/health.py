"""Whether the service is ready: named checks, and false from the moment it is told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from services.chassis.logs import get_logger

Check = Callable[[], Awaitable[object]]

_CHECK_TIMEOUT_S: Final = 2.0
_OK: Final = "ok"


class NotReady(Exception):
    """A check has failed; the words are for whoever asks."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """The answer of `/readyz`: `checks` says `ok` or what failed, by name and without internals."""

    ready: bool
    checks: Mapping[str, str]


class Health:
    """The checks of one service; a check fails by raising. What has changed since the last time is logged, once."""

    def __init__(self) -> None:
        self.draining = False
        self._checks: dict[str, Check] = {}
        self._last: dict[str, str] = {}
        self._log = get_logger("chassis.health")

    def add(self, name: str, check: Check) -> None:
        self._checks[name] = check

    def drain(self) -> None:
        """Answer "not ready" from now on: the service is stopping."""
        self.draining = True

    async def readiness(self) -> Readiness:
        if self.draining:
            return Readiness(ready=False, checks={"shutdown": "stopping"})
        names = list(self._checks)
        results = await asyncio.gather(*(self._run(name) for name in names))
        return Readiness(ready=all(r == _OK for r in results), checks=dict(zip(names, results, strict=True)))

    async def _run(self, name: str) -> str:
        error: Exception | None = None
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await self._checks[name]()
            result = _OK
        except TimeoutError:
            result = "timeout"
        except NotReady as why:
            result = str(why)
        except Exception as failure:  # noqa: BLE001 - whatever a check raises means "not ready"
            result, error = "failed", failure
        self._log_change(name, result, error)
        return result

    def _log_change(self, name: str, result: str, error: Exception | None) -> None:
        before, self._last[name] = self._last.get(name, _OK), result
        if result == before:
            return
        if result == _OK:
            self._log.info("health.check_passed", check=name)
        else:
            kind = {} if error is None else {"error": type(error).__name__}
            self._log.warning("health.check_failed", check=name, result=result, **kind)
