"""Requests that die at any statement: what was acknowledged stays, what was not leaves nothing half-done."""

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import asyncpg
import httpx
import pytest

from tests.postgres.session.shop import Shop

Call = Callable[[], Awaitable[httpx.Response]]


class Killed(BaseException):
    """The process ends here, as far as this request can tell."""


async def killed_at(moment: int, call: Call) -> bool:
    """Make a call that dies before its n-th command to Postgres, commits among them; False if it was answered first."""
    passed = 0

    def dying(command: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(*what: Any, **how: Any) -> Any:
            nonlocal passed
            passed += 1
            if passed == moment + 1:
                raise Killed
            return await command(*what, **how)

        return run

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(asyncpg.Connection, "fetch", dying(asyncpg.Connection.fetch))
        patched.setattr(asyncpg.Connection, "execute", dying(asyncpg.Connection.execute))
        try:
            answer = await call()
        except Killed:
            return True
    assert answer.is_success, answer.text
    return False


async def survives(shop: Shop, prepare: Callable[[int], Awaitable[Call]]) -> int:
    """Kill a call at every moment of its life, on a fresh case each, and repeat it; return how many moments it has."""
    for moment in count():
        call = await prepare(moment)
        killed = await killed_at(moment, call)
        answer = await call()
        assert answer.is_success, answer.text
        if not killed:
            return moment
    raise AssertionError("unreachable")


@pytest.mark.scenario("I10", "I11", "I14")
async def test_a_killed_checkout_is_repeated_safely(shop: Shop) -> None:
    """A checkout killed at any statement holds no lock; its repeat gives one order with one message."""

    async def prepare(moment: int) -> Call:
        await shop.add(f"user-{moment}", "book")
        return lambda: shop.check_out(f"user-{moment}", key="k-1")

    moments = await survives(shop, prepare)
    assert moments > 8
    for moment in range(moments + 1):
        assert len((await shop.orders(f"user-{moment}")).json()["items"]) == 1
    assert len(await shop.messages()) == moments + 1


async def test_a_killed_addition_is_repeated_safely(shop: Shop) -> None:
    """An addition with a key, killed at any statement and repeated, adds once."""

    async def prepare(moment: int) -> Call:
        return lambda: shop.add(f"user-{moment}", "book", 2, key="k-1")

    moments = await survives(shop, prepare)
    assert moments > 5
    for moment in range(moments + 1):
        assert (await shop.cart(f"user-{moment}"))["items"][0]["quantity"] == 2


@pytest.mark.scenario("C15")
async def test_a_killed_reservation_is_repeated_safely(shop: Shop) -> None:
    """A reservation killed at any statement and repeated holds its pieces once."""

    async def prepare(moment: int) -> Call:
        await shop.stock("tea", 2 * (moment + 1))
        return lambda: shop.reserve(f"order-{moment}", {"tea": 2})

    moments = await survives(shop, prepare)
    assert await shop.available("tea") == 0
    await shop.check_balance({"book": 10, "mug": 5, "tea": 2 * (moments + 1)})


async def test_a_killed_release_is_repeated_safely(shop: Shop) -> None:
    """A release killed at any statement and repeated gives its pieces back once."""

    async def prepare(moment: int) -> Call:
        await shop.reserve(f"order-{moment}", {"book": 2})
        return lambda: shop.release(f"order-{moment}")

    await survives(shop, prepare)
    assert await shop.available("book") == 10


async def test_a_killed_mark_is_repeated_safely(shop: Shop) -> None:
    """An executed mark killed at any statement and repeated takes the frozen lines out of the basket once."""

    async def prepare(moment: int) -> Call:
        user, order = f"user-{moment}", f"order-{moment}"
        await shop.stock("tea", moment + 1)
        await shop.ordered(user, order, {"tea": 1})
        await shop.add(user, "tea", 3)
        assert (await shop.reserve(order, {"tea": 1})).status_code == 200
        return lambda: shop.executed(order)

    for moment in range(await survives(shop, prepare) + 1):
        assert (await shop.cart(f"user-{moment}"))["items"][0]["quantity"] == 3


async def test_a_killed_sale_is_repeated_safely(shop: Shop) -> None:
    """A shipped event killed at any statement and delivered again sells what was held once, and alarms nobody."""

    async def prepare(moment: int) -> Call:
        order = f"order-{moment}"
        await shop.stock("tea", 2)
        await shop.ordered(f"user-{moment}", order, {"tea": 2})
        assert (await shop.reserve(order, {"tea": 2})).status_code == 200
        return lambda: shop.tell(order, "shipped", event_id=order)

    await survives(shop, prepare)
    (tea,) = await shop.rows("SELECT on_hand, held FROM products WHERE sku = 'tea'")
    assert (tea["on_hand"], tea["held"]) == (0, 0)
    assert await shop.rows("SELECT id FROM audit WHERE action LIKE 'alarm.%'") == []
