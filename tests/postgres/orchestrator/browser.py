"""An administrator's browser, as far as the pages need one."""

import re

import httpx

from services.orchestrator.settings import DEVELOPMENT_ADMIN
from tests.support.inprocess import URLS
from tests.support.system import System

ORIGIN = URLS["orchestrator"]
USER, PASSWORD = DEVELOPMENT_ADMIN


class Browser:
    """An administrator's browser: keeps cookies, sends Origin with forms, follows nothing by itself."""

    def __init__(self, system: System, *, origin: str = ORIGIN) -> None:
        self.system = system
        self.origin = origin
        self.cookies: dict[str, str] = {}
        self.accept = "*/*"

    async def get(self, path: str, method: str = "GET") -> httpx.Response:
        return await self.system.call(method, "orchestrator", path, headers=self._headers())

    async def post(self, path: str, fields: dict[str, str], *, origin: str | None = "") -> httpx.Response:
        headers = self._headers()
        sent_from = self.origin if origin == "" else origin
        if sent_from is not None:
            headers["origin"] = sent_from
        answer = await self.system.call("POST", "orchestrator", path, data=fields, headers=headers)
        for cookie in answer.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        self.system.http.cookies.clear()
        return answer

    async def sign_in(self, *, user: str = USER, password: str = PASSWORD, then: str = "") -> httpx.Response:
        return await self.post("/login", {"username": user, "password": password, "next": then})

    async def csrf(self, path: str) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', (await self.get(path)).text)
        assert found is not None
        return found[1]

    async def decide(self, path: str, decision: str, reason: str = "") -> httpx.Response:
        csrf = await self.csrf(path)
        return await self.post(path, {"csrf": csrf, "decision": decision, "reason": reason})

    def _headers(self) -> dict[str, str]:
        headers = {"accept": self.accept}
        if self.cookies:
            headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return headers
