"""Success of somebody who is not who was called, a proxy for one, is no answer to what the outbox sends."""

import httpx
import pytest

from tests.support.inprocess import Switchboard
from tests.support.system import System

LIES = [httpx.Response(200, json={"status": "ok"}), httpx.Response(202, json={"user_id": "bob"})]


class Liar:
    """Answers calls of a path with success, in the place of whom they are meant for, as long as it lies."""

    def __init__(self, path: str, lie: httpx.Response, patch: pytest.MonkeyPatch) -> None:
        self.lies = True
        self.told = 0
        honest = Switchboard.handle_async_request

        async def handle(switchboard: Switchboard, request: httpx.Request) -> httpx.Response:
            if not self.lies or request.url.path != path:
                return await honest(switchboard, request)
            self.told += 1
            return httpx.Response(lie.status_code, content=lie.content)

        patch.setattr(Switchboard, "handle_async_request", handle)


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.scenario("C2")
async def test_an_event_is_sent_until_session_has_it(
    system: System, monkeypatch: pytest.MonkeyPatch, lie: httpx.Response
) -> None:
    """No status of an order is lost, nor the sale of what it holds."""
    liar = Liar("/events", lie, monkeypatch)
    await system.place("order-1")
    await system.settle()
    assert (await system.status("order-1"), liar.told) == ("pending_payment", 1)
    liar.lies = False
    await system.pass_time(60)
    assert await system.status("order-1") == "awaiting_approval"
    await system.decide("order-1")
    liar.lies = True
    await system.pass_time(60)
    liar.lies = False
    for _ in range(3):
        await system.pass_time(60)
    told = ["pending_payment", "awaiting_approval", "approved", "shipped", "completed"]
    assert await system.history("order-1") == told
    await system.check_balance()


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.scenario("C2")
async def test_an_erasure_is_sent_until_the_customer_is_erased(
    system: System, monkeypatch: pytest.MonkeyPatch, lie: httpx.Response
) -> None:
    """A customer is erased in the sagas too, however often somebody else has said yes to it."""
    await system.place("order-1", payment_token="tok_decline")
    await system.pass_time(60)
    assert await system.status("order-1") == "payment_failed"
    liar = Liar("/users/alice/erase", lie, monkeypatch)
    liar.lies = False
    body = {"reason": "asked for"}
    erased = await system.call("POST", "session", "/users/alice/erase", json=body, headers=system.admin)
    assert erased.status_code == 202
    liar.lies = True
    await system.settle()
    assert ((await system.saga("order-1"))["input"] == "erased", liar.told) == (False, 1)
    liar.lies = False
    await system.pass_time(60)
    assert (await system.saga("order-1"))["input"] == "erased"
