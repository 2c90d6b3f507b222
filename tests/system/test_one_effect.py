"""One key, several contents at once: on every route that honours keys exactly one of them takes effect."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.support.clock import ManualClock
from tests.support.system import System, running
from tests.system.keyed import KEYED, Keyed

AT_ONCE = 6


@pytest.fixture
async def system(product_urls: dict[str, str], clock: ManualClock) -> AsyncIterator[System]:
    """Run the whole product; what is sent here is not meant to add up."""
    async with running(product_urls, clock) as system:
        await system.shelve("book", 1_000)
        yield system


async def send(system: System, keyed: Keyed, body: int) -> httpx.Response:
    headers = {**keyed.headers, "Idempotency-Key": "k"}
    return await system.call("POST", keyed.service, keyed.path, json=keyed.bodies[body], headers=headers)


@pytest.mark.parametrize("route", KEYED)
@pytest.mark.scenario("I2", "I3")
async def test_of_several_contents_under_one_key_one_takes_effect(system: System, route: str) -> None:
    """Sent at once, and again afterwards: one has its effect and its answer, every other one is refused."""
    keyed = await KEYED[route](system)
    bodies = [number % len(keyed.bodies) for number in range(AT_ONCE)]
    answers = await asyncio.gather(*(send(system, keyed, body) for body in bodies))
    assert await keyed.effects() == 1
    taken = {body for body, answer in zip(bodies, answers, strict=True) if answer.is_success}
    assert len(taken) == 1, [answer.text for answer in answers]
    for answer in answers:
        assert answer.is_success or answer.status_code in (409, 422), answer.text
        assert answer.is_success or answer.headers["content-type"] == "application/problem+json"
    for body in range(len(keyed.bodies)):
        again = await send(system, keyed, body)
        if body in taken:
            assert again.is_success, again.text
            assert again.headers["Idempotent-Replayed"] == "true"
        else:
            assert (again.status_code, again.json()["code"]) == (422, "idempotency-key-reused"), again.text
    assert await keyed.effects() == 1


async def test_every_route_that_honours_keys_is_among_them(system: System) -> None:
    """Who adds such a route has to say here what could take effect twice."""
    honouring = set()
    for service in ("session", "shipping", "orchestrator"):
        document = (await system.call("GET", service, "/openapi.json")).json()
        for path, methods in document["paths"].items():
            parameters = [given["name"] for how in methods.values() for given in how.get("parameters", ())]
            if "idempotency-key" in parameters:
                honouring.add(f"{service} {path}")
    assert honouring == KEYED.keys()
