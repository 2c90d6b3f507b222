"""Who asks too often, too large, too long or under a wrong name is refused early, and nobody else for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from typing import Any

import httpx
import pytest
from starlette.datastructures import Headers

from services.chassis.inbound.limits import Budgets, Limits
from services.chassis.security.tokens import ServiceTokens, mint_user_token
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.sample import SERVICES, USERS, check_problem, new_app


@asynccontextmanager
async def asking(clock: ManualClock, client: str = "192.0.2.1", **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client at an address, of a service with these settings."""
    transport = httpx.ASGITransport(new_app(clock, ChassisSettings(**settings)), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as http:
        yield http


def bearer(clock: ManualClock, sub: str = "alice", scope: str = "customer") -> dict[str, str]:
    return {"Authorization": f"Bearer {mint_user_token(USERS, sub=sub, scope=scope, clock=clock)}"}


def service(clock: ManualClock) -> dict[str, str]:
    token = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock).mint("session")
    return {"Authorization": f"Bearer {token}"}


def test_a_budget_is_spent_and_fills_again(clock: ManualClock) -> None:
    """So many at once, then as many as time gives, each name for itself."""
    budgets = Budgets(per_s=2, burst=3, clock=clock)
    assert [budgets.spend("a") for _ in range(4)] == [0, 0, 0, 0.5]
    assert budgets.spend("b") == 0
    clock.advance(0.5)
    assert budgets.wait_s("a") == 0
    assert budgets.spend("a") == 0
    assert budgets.spend("a") > 0
    clock.advance(3_600)
    assert [budgets.spend("a") for _ in range(4)] == [0, 0, 0, 0.5]


def test_budgets_take_bounded_memory(clock: ManualClock) -> None:
    """However many names ask, only so many are remembered."""
    budgets = Budgets(per_s=1, burst=1, clock=clock, names_max=100)
    for number in range(1_000):
        budgets.spend(str(number))
    assert len(budgets) == 100


PROXY, CLIENT, FAKE = "10.0.0.1", "198.51.100.7", "203.0.113.9"


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        (CLIENT, [], CLIENT),
        (CLIENT, [FAKE], CLIENT),  # not a proxy of ours: its word counts for nothing
        (PROXY, [CLIENT], CLIENT),
        (PROXY, [f"{FAKE}, {CLIENT}"], CLIENT),  # what the client has put before it is not believed
        (PROXY, [FAKE, CLIENT], CLIENT),
        (PROXY, [f"{CLIENT}, 10.0.0.2"], CLIENT),  # two proxies of ours
        (PROXY, [f"{FAKE}, {CLIENT}:50123"], CLIENT),  # as some proxies write it
        (PROXY, ["[2001:db8::1:2:3:4]:50123"], "2001:db8::/64"),
        (PROXY, ["[2001:db8::1:2:3:4]"], "2001:db8::/64"),
        (PROXY, [f"{FAKE}, {CLIENT}:x"], PROXY),
        (PROXY, [f"{FAKE}, {CLIENT}:1:2"], PROXY),
        ("fe80::1%eth0", [], "fe80::/64"),
        (PROXY, [f"{FAKE}, nonsense"], PROXY),
        (PROXY, [], PROXY),
        ("::ffff:198.51.100.7", [], CLIENT),
        ("2001:db8::1:2:3:4", [], "2001:db8::/64"),
        ("unix", [], "unknown"),
    ],
)
def test_an_address_is_who_really_asks(clock: ManualClock, peer: str, forwarded: list[str], address: str) -> None:
    """X-Forwarded-For is believed from our proxies only, and only as far as they have written it themselves."""
    limits = Limits(clock=clock, address_per_s=1, user_per_s=1, in_progress_max=1, proxies=[ip_network("10.0.0.0/8")])
    headers = Headers(raw=[(b"x-forwarded-for", text.encode()) for text in forwarded])
    assert limits.address_of({"client": (peer, 1)}, headers) == address


async def test_an_address_pays_for_requests_that_prove_nothing(clock: ManualClock) -> None:
    """Too many of them are 429 with Retry-After, whatever X-Forwarded-For says; who proves who it is goes on."""
    async with asking(clock, address_requests_per_s=1) as http:
        for _ in range(10):
            assert (await http.get("/lines/a")).status_code == 200
        for forwarded in ("198.51.100.1", "198.51.100.2"):
            answer = await http.get("/lines/a", headers={"X-Forwarded-For": forwarded})
            check_problem(answer, 429, "too-many-requests")
            assert answer.headers["Retry-After"] == "1"
        assert (await http.get("/users/alice/cart", headers=bearer(clock))).status_code == 200
        for _ in range(30):
            assert (await http.get("/admin", headers=service(clock))).status_code == 200
        check_problem(await http.get("/admin", headers={"Authorization": "Bearer guess"}), 429, "too-many-requests")
        assert (await http.get("/healthz")).status_code == 200
        clock.advance(2)
        assert (await http.get("/lines/a")).status_code == 200


@pytest.mark.parametrize(
    "shown", [{"Authorization": "Bearer guess"}, {"Authorization": "x"}, {"webhook-signature": "x"}]
)
async def test_made_up_credentials_are_no_way_past_a_budget(clock: ManualClock, shown: dict[str, str]) -> None:
    """At a route for everybody nobody looks at them, and so they must not let anybody in; those that hold do."""
    async with asking(clock, address_requests_per_s=1) as http:
        for _ in range(10):
            assert (await http.get("/lines/a", headers=shown)).status_code == 200
        check_problem(await http.get("/lines/a", headers=shown), 429, "too-many-requests")
        check_problem(await http.post("/lines", json={}, headers=shown), 429, "too-many-requests")
        for proven in (bearer(clock), service(clock)):
            assert (await http.get("/lines/a", headers=proven)).status_code == 200
        clock.advance(2)
        assert (await http.get("/lines/a", headers=shown)).status_code == 200


async def test_a_wrong_token_counts_against_its_address(clock: ManualClock) -> None:
    """Guesses are 401 until there were too many, then 429."""
    async with asking(clock, address_requests_per_s=1) as http:
        guess = {"Authorization": "Bearer guess"}
        statuses = [(await http.get("/admin", headers=guess)).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2


async def test_a_user_has_a_budget_wherever_it_asks_from(clock: ManualClock) -> None:
    """One user's storm is 429; another user, and services, do not notice."""
    async with asking(clock, user_requests_per_s=1) as http:
        statuses = [(await http.get("/users/alice/cart", headers=bearer(clock))).status_code for _ in range(12)]
        assert statuses == [200] * 10 + [429] * 2
        assert (await http.get("/users/bob/cart", headers=bearer(clock, "bob"))).status_code == 200
        assert (await http.get("/admin", headers=service(clock))).status_code == 200


async def test_only_so_many_requests_are_answered_at_once(clock: ManualClock) -> None:
    """One more is 503 with Retry-After before its body is read; probes always get through."""
    async with asking(clock, requests_in_progress_max=2) as http:
        waiting = [asyncio.create_task(http.get("/wait")) for _ in range(2)]
        await asyncio.sleep(0.01)
        answer = await http.post("/lines", content=b"{")
        check_problem(answer, 503, "unavailable")
        assert answer.headers["Retry-After"] == "1"
        assert (await http.get("/healthz")).status_code == 200
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        assert (await http.get("/lines/a")).status_code == 200


async def test_a_request_that_takes_too_long_is_given_up(clock: ManualClock) -> None:
    """After the time that a request may take it is 503: come back later."""
    async with asking(clock, request_timeout_s=0.05) as http:
        check_problem(await http.get("/wait"), 503, "unavailable")


async def test_addresses_and_headers_have_a_size(clock: ManualClock) -> None:
    """A long path or query is 414, many or large headers 431."""
    async with asking(clock) as http:
        check_problem(await http.get(f"/lines/{'a' * 9_000}"), 414, "address-too-long")
        check_problem(await http.get("/lines/a", params={"x": "a" * 9_000}), 414, "address-too-long")
        check_problem(await http.get("/lines/a", headers={"X-Much": "a" * 40_000}), 431, "headers-too-large")
        many = [("X-Many", "1")] * 200
        check_problem(await http.get("/lines/a", headers=many), 431, "headers-too-large")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8001", "shop.example.evil.example", "", "[::1]"])
async def test_another_host_name_is_refused_in_production(clock: ManualClock, host: str) -> None:
    """Only names of the settings are answered to; probes go by address."""
    good = "a-secret-of-our-own-that-is-long-enough-"
    values: dict[str, Any] = {"env": "production", "auth_jwt_secret": good + "1", "service_token_secret": good + "2"}
    values["encryption_keys"] = good + "3"
    values |= {"session_url": "http://session:8001", "shipping_url": "http://[2001:db8::2]:8002"}
    async with asking(clock, **values, trusted_hosts="shop.example,[2001:db8::1]") as http:
        check_problem(await http.get("/lines/a", headers={"Host": host}), 400, "unknown-host")
        assert (await http.get("/healthz", headers={"Host": host})).status_code == 200
        doubled = [("Host", "shop.example"), ("Host", host)]
        check_problem(await http.get("/lines/a", headers=doubled), 400, "unknown-host")
        addresses = ("[2001:db8::1]", "[2001:DB8::2]:8002")
        for known in ("shop.example", "SHOP.example:443", "session:8001", *addresses):
            answer = await http.get("/lines/a", headers={"Host": known})
            assert answer.status_code == 200
            assert answer.headers["Strict-Transport-Security"].startswith("max-age=")


async def test_scripts_of_other_sites_are_let_in_nowhere(clock: ManualClock) -> None:
    """A preflight is refused, and no answer names an origin that may read it."""
    ask = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": "GET"}
    async with asking(clock) as http:
        preflight = await http.options("/lines/a", headers=ask)
        assert preflight.status_code == 405
        for answer in (preflight, await http.get("/lines/a", headers=ask)):
            assert not [name for name in answer.headers if name.startswith("access-control-")]
            assert answer.headers["Cross-Origin-Resource-Policy"] == "same-origin"


async def test_every_answer_tells_browsers_to_keep_away(clock: ManualClock) -> None:
    """Nothing is sniffed, framed, cached or let to run scripts, on errors too."""
    async with asking(clock) as http:
        for path in ("/lines/a", "/nowhere", "/raise/bug"):
            headers = (await http.get(path)).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
            assert headers["Cache-Control"] == "no-store"
            assert "Strict-Transport-Security" not in headers
            assert "server" not in headers
