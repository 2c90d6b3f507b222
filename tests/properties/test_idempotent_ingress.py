"""Random storms of repeated requests: one effect and one answer for each key, whatever is repeated, mixed or cut off.

A short run here; `TRIALS=full` makes it as long as the guarantee says. The run tells its seed, and `SEED` repeats it.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.chassis.postgres.database import Database
from tests.postgres.session.shop import Shop, opened
from tests.support.clock import ManualClock
from tests.support.figures import dice, figure, trials
from tests.support.system import System, running

KEYS = trials(40, 10_000)
AT_ONCE = 8
PATIENCE = 200
USERS = 20

pytestmark = [pytest.mark.timeout(120 + KEYS), pytest.mark.usefixtures("capsys")]


@dataclass(frozen=True, slots=True)
class Told:
    """A definite answer to one of the bodies that were sent under a key."""

    body: int
    status: int
    text: str


class Storm:
    """Sends what belongs to one key: several bodies, at once, some cut off in the middle, until each has an answer."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice

    async def rage(self, send: Any, bodies: list[Any]) -> list[Told]:
        senders = [self.dice.randrange(len(bodies)) for _ in range(self.dice.randrange(2, AT_ONCE))]
        return list(await asyncio.gather(*(self._insist(send, bodies, body) for body in senders)))

    async def _insist(self, send: Any, bodies: list[Any], body: int) -> Told:
        """Repeat a request, as a client does that hears nothing, "still running", or "come back later"."""
        for _ in range(PATIENCE):
            answer = await self._maybe_cut_off(send(bodies[body]))
            if answer is not None and "Retry-After" not in answer.headers:
                return Told(body, answer.status_code, answer.text)
            await asyncio.sleep(0.002 if answer is None or answer.status_code == 409 else 0.2)
        raise AssertionError("no answer")

    async def _maybe_cut_off(self, request: Any) -> httpx.Response | None:
        task = asyncio.ensure_future(request)
        if self.dice.random() < 0.4:
            await asyncio.wait({task}, timeout=self.dice.random() * 0.02)
            task.cancel()
        result = (await asyncio.gather(task, return_exceptions=True))[0]
        return result if isinstance(result, httpx.Response) else None


def one_of(told: list[Told], good: frozenset[int]) -> int:
    """Assert that one body was taken, with one answer, and every other refused; return which."""
    taken = {answer.body for answer in told if answer.status in good}
    assert len(taken) <= 1, told
    assert {answer.status for answer in told if answer.body not in taken} <= {422}, told
    assert len({answer.text for answer in told if answer.body in taken}) <= 1, told
    return next(iter(taken), -1)


async def every_key(one: Callable[[int], Awaitable[None]]) -> None:
    """Try every key, some at a time."""
    for first in range(0, KEYS, AT_ONCE):
        await asyncio.gather(*(one(number) for number in range(first, min(first + AT_ONCE, KEYS))))


async def winner(storm: Storm, send: Any, bodies: list[Any], good: frozenset[int]) -> int:
    """Send bodies under one key, and return which was taken; if only refusals were seen, ask for the one."""
    taken = one_of(await storm.rage(send, bodies), good)
    return taken if taken >= 0 else await _who_has_it(send, bodies, good)


async def test_a_basket_counts_each_key_once(session_database: Database, session_url: str, clock: ManualClock) -> None:
    """Repeated, concurrent, mixed and cut off additions: the basket holds what was taken under each key, once."""
    del session_database  # emptied afterwards
    storm = Storm(dice("storm"))
    async with opened(session_url, clock, user_requests_per_s=0, database_pool_size=20) as shop:
        for sku in range(2):
            assert (await shop.stock(f"sku-{sku}", 1_000)).status_code == 200
        expected: dict[str, Counter[str]] = {f"user-{number}": Counter() for number in range(USERS)}

        async def one(number: int) -> None:
            user = f"user-{number % USERS}"
            bodies = [{"sku": f"sku-{number % 2}", "quantity": quantity} for quantity in (1, 2)]

            async def send(body: Any) -> httpx.Response:
                headers = shop.bearer(user) | {"Idempotency-Key": f"key-{number}"}
                return await shop.client.post(f"/users/{user}/cart/items", json=body, headers=headers)

            taken = await winner(storm, send, bodies, frozenset({200}))
            expected[user][str(bodies[taken]["sku"])] += int(str(bodies[taken]["quantity"]))

        await every_key(one)
        await _check_baskets(shop, expected)
    what = "keys of additions to baskets, each sent several times at once with two bodies, and cut off"
    figure("G16", trials=KEYS, violations=0, what=what)


async def _who_has_it(send: Any, bodies: list[Any], good: frozenset[int]) -> int:
    for body, what in enumerate(bodies):
        if (await send(what)).status_code in good:
            return body
    raise AssertionError("no body has the key")


async def _check_baskets(shop: Shop, expected: dict[str, Counter[str]]) -> None:
    for user, wanted in expected.items():
        cart = await shop.cart(user)
        assert {line["sku"]: line["quantity"] for line in cart["items"]} == dict(wanted), user


def refund(key: str, payment_id: str) -> dict[str, Any]:
    """A start that waits for an hour."""
    return {"workflow": "refund-payment", "key": key, "input": {"payment_id": payment_id}, "delay_s": 3_600}


async def start(system: System, body: Any, key: str) -> httpx.Response:
    keyed = system.service() | {"Idempotency-Key": key}
    return await system.call("POST", "orchestrator", "/sagas", json=body, headers=keyed)


@pytest.mark.scenario("I1")
async def test_a_key_starts_one_saga(
    product_urls: dict[str, str],
    clock: ManualClock,
) -> None:
    """Concurrent starts with two inputs under one workflow key: one saga, one input; the other is a conflict."""
    storm = Storm(dice("storm"))
    async with running(product_urls, clock) as system:
        inputs: dict[str, str] = {}

        async def one(number: int) -> None:
            key = f"pay_{number}"
            bodies = [refund(key, payment) for payment in (f"{key}-a", f"{key}-b")]

            async def send(body: Any) -> httpx.Response:
                return await start(system, body, f"{key}-{body['input']['payment_id']}")

            told = await storm.rage(send, bodies)
            taken = {answer.body for answer in told if answer.status in {200, 202}}
            assert len(taken) <= 1, told
            assert {answer.status for answer in told if answer.body not in taken} <= {409}, told
            if taken:
                inputs[key] = str(bodies[next(iter(taken))]["input"]["payment_id"])

        await every_key(one)
        await _check_sagas(system, inputs)
    what = "keys of starts, each sent several times at once with two inputs, and cut off"
    figure("G16", trials=KEYS, violations=0, what=what)


@pytest.mark.scenario("I1", "I2")
async def test_a_key_starts_one_of_two_sagas(product_urls: dict[str, str], clock: ManualClock) -> None:
    """Concurrent starts of two sagas under one idempotency key: one of them starts, and the other is refused."""
    storm = Storm(dice("storm"))
    async with running(product_urls, clock) as system:
        inputs: dict[str, str] = {}

        async def one(number: int) -> None:
            bodies = [refund(payment, payment) for payment in (f"pay_{number}-a", f"pay_{number}-b")]

            async def send(body: Any) -> httpx.Response:
                return await start(system, body, f"key-{number}")

            taken = await winner(storm, send, bodies, frozenset({200, 202}))
            inputs[str(bodies[taken]["key"])] = str(bodies[taken]["key"])

        await every_key(one)
        await _check_sagas(system, inputs)
    what = "keys of starts, each sent several times at once for two sagas, and cut off"
    figure("G16", trials=KEYS, violations=0, what=what)


async def _check_sagas(system: System, inputs: dict[str, str]) -> None:
    found: dict[str, str] = {}
    cursor = ""
    while True:
        page = (await system.call("GET", "orchestrator", f"/sagas?limit=200{cursor}", headers=system.admin)).json()
        for saga in page["items"]:
            assert saga["key"] not in found, saga["key"]
            found[saga["key"]] = saga["input"]["payment_id"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert len(found) == KEYS
    assert all(found[key] == payment for key, payment in inputs.items())
