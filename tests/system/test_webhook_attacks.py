"""The payment webhook against an adversary who holds a genuine event, signed by the official library."""

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from services.orchestrator.settings import DEVELOPMENT_WEBHOOK_SECRET
from tests.support.clock import ManualClock
from tests.support.figures import dice, figure, trials
from tests.support.system import System, failed, running, succeeded
from tests.system.steps import ended, refunded

NEW = "whsec_" + base64.b64encode(b"the secret that is being rotated in").decode()
MUTATIONS = trials(300, 10_000)
EVENT_ID = "evt_genuine"
REFUSED = frozenset({400, 401, 422})


@pytest.fixture
async def system(product: System) -> System:
    """The product without its balance: here events tell of money that the processor's ledger does not know."""
    return product


def genuine(
    event: Mapping[str, Any], at: datetime, *, secret: str = DEVELOPMENT_WEBHOOK_SECRET, event_id: str = EVENT_ID
) -> tuple[bytes, dict[str, str]]:
    """A webhook as the processor's own library would send it."""
    raw = json.dumps(event)
    return raw.encode(), {
        "content-type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign(event_id, at, raw),
    }


async def send(system: System, raw: bytes, headers: Mapping[str, str | bytes]) -> httpx.Response:
    return await system.call("POST", "orchestrator", "/webhooks/payments", content=raw, headers=dict(headers))


async def unpaid(system: System, order_id: str = "order-1") -> Any:
    await system.place(order_id, payment_token="tok_manual")
    await system.settle()
    (payment,) = await system.payments(order_id)
    return payment


def mutated(raw: bytes, headers: dict[str, str], rolls: random.Random) -> tuple[bytes, dict[str, str | bytes]]:
    """Change one thing, so that it is another message or no message at all."""
    changed: dict[str, str | bytes] = dict(headers)
    name = rolls.choice(["body", "cut", "longer", "spaces", "webhook-id", "webhook-timestamp", "webhook-signature"])
    if name == "body":
        at = rolls.randrange(len(raw))
        raw = raw[:at] + bytes([raw[at] ^ rolls.randrange(1, 256)]) + raw[at + 1 :]
    elif name == "cut":
        raw = raw[: rolls.randrange(len(raw))]
    elif name == "longer":
        raw += rolls.choice([b" ", b"\n", b"{}", b"\x00", raw])
    elif name == "spaces":
        raw = json.dumps(json.loads(raw), separators=(",", ":"), sort_keys=rolls.random() < 0.5).encode()
    else:
        text = headers[name]
        at = rolls.randrange(len(text))
        other = rolls.choice([text[:at] + chr(rolls.randrange(0x21, 0x7F)) + text[at + 1 :], text[:at], text + "A"])
        if other.strip() == text:
            other = text[::-1]
        changed[name] = other
    return raw, changed


@pytest.mark.scenario("G21")
@pytest.mark.timeout(120 + MUTATIONS)
async def test_no_mutation_of_a_genuine_event_is_believed(system: System) -> None:
    """Hundreds of changed bodies, ids, timestamps and signatures: all 4xx, none believed; then the genuine one is."""
    payment = await unpaid(system)
    raw, headers = genuine(succeeded(payment), system.clock.now())
    rolls = dice("mutations")
    violations = []
    for _ in range(MUTATIONS):
        body, changed = mutated(raw, headers, rolls)
        answer = await send(system, body, changed)
        if answer.status_code not in REFUSED or answer.headers["content-type"] != "application/problem+json":
            violations.append((answer.status_code, answer.text[:200], changed, body[:200]))
    await system.settle()
    if await system.status("order-1") != "pending_payment":
        violations.append((0, "the order moved", {}, b""))
    what = "webhooks with a changed body, id, timestamp or signature: refused by a problem, and not believed"
    figure("G21", trials=MUTATIONS, violations=len(violations), what=what)
    assert not violations
    assert (await send(system, raw, headers)).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"


async def test_other_keys_and_algorithms_are_refused(system: System) -> None:
    """A signature by another key, another hash, another version, of nothing, or unreadable, is no signature."""
    payment = await unpaid(system)
    raw, headers = genuine(succeeded(payment), system.clock.now())
    key = base64.b64decode(DEVELOPMENT_WEBHOOK_SECRET.removeprefix("whsec_"))
    signed = f"{EVENT_ID}.{headers['webhook-timestamp']}.".encode() + raw

    def by(key: bytes, algorithm: str = "sha256", text: bytes = signed) -> str:
        return base64.b64encode(hmac.new(key, text, algorithm).digest()).decode()

    right = headers["webhook-signature"].removeprefix("v1,")
    wrong: list[str | bytes] = [
        f"v1,{by(DEVELOPMENT_WEBHOOK_SECRET.encode())}",  # the secret as it is written, not what it means
        f"v1,{by(b'')}",
        f"v1,{by(key, 'sha512')}",
        f"v1,{by(key, 'sha1')}",
        f"v1,{by(key, text=raw)}",
        f"v1,{hashlib.sha256(key + signed).hexdigest()}",
        f"v1a,{right}",
        f"v2,{right}",
        f"V1,{right}",
        right,
        f"v1,{right.rstrip('=')}",
        f"v1,{right}=",
        f"v1, {right}",
        f"v1;{right}",
        "v1,",
        "v1",
        "v1," + "A" * 20_000,
        "v1,AAAA " * 2_000 + f"v1,{right}",
        "v1,é".encode(),
        "v1,\udcff".encode("utf-8", "surrogatepass"),
        b"v1,\xff\xfe",
        json.dumps({"v1": right}),
    ]
    for signature in wrong:
        answer = await send(system, raw, headers | {"webhook-signature": signature})
        assert answer.status_code in {401, 431}, signature[:60]
    await system.settle()
    assert await system.status("order-1") == "pending_payment"
    assert (await send(system, raw, headers | {"webhook-signature": f"v1,AAAA v1,{right}"})).status_code == 200


@pytest.mark.parametrize("after", [timedelta(minutes=6), timedelta(hours=75, minutes=35)], ids=["minutes", "75 h"])
async def test_a_replay_is_stale_and_a_redelivery_changes_nothing(system: System, after: timedelta) -> None:
    """The captured request is 401 once it is old; the processor's own retry, signed anew, is 200 and a repeat."""
    payment = await unpaid(system)
    event = succeeded(payment)
    raw, headers = genuine(event, system.clock.now())
    assert (await send(system, raw, headers)).status_code == 200
    assert (await send(system, raw, headers)).status_code == 200
    await system.settle()
    await system.decide("order-1")
    assert await ended(system, "order-1") == "completed"
    before = await system.ledger(), await system.history("order-1")
    await system.pass_time(after)
    assert (await send(system, raw, headers)).status_code == 401
    again, fresh = genuine(event, system.clock.now())
    for _ in range(3):
        assert (await send(system, again, fresh)).status_code == 200
    await system.settle()
    assert (await system.ledger(), await system.history("order-1")) == before


async def test_the_opposite_and_the_late_event_are_recorded_only(system: System) -> None:
    """After a success a genuine failure is 200 and changes nothing; after a cancel a genuine success is refunded."""
    payment = await unpaid(system)
    raw, headers = genuine(succeeded(payment), system.clock.now())
    assert (await send(system, raw, headers)).status_code == 200
    opposite, signature = genuine(failed(payment), system.clock.now(), event_id="evt_2")
    assert (await send(system, opposite, signature)).status_code == 200
    await system.settle()
    assert await system.status("order-1") == "awaiting_approval"
    await system.settle_payment("order-1", "succeeded")
    await system.settle()
    await system.cancel("order-1")
    assert await ended(system, "order-1") == "cancelled"
    assert await refunded(system, "order-1")


async def test_secrets_rotate_without_a_gap(
    product_urls: dict[str, str],
    clock: ManualClock,
) -> None:
    """With both secrets set, events by either are believed; with one gone, its events are not."""
    both = f"{NEW},{DEVELOPMENT_WEBHOOK_SECRET}"
    async with running(product_urls, clock, payment_webhook_secrets=both) as system:
        await system.shelve("book", 10)
        for order_id, secret in (("order-1", DEVELOPMENT_WEBHOOK_SECRET), ("order-2", NEW)):
            payment = await unpaid(system, order_id)
            raw, headers = genuine(succeeded(payment), system.clock.now(), secret=secret, event_id=f"evt_{order_id}")
            assert (await send(system, raw, headers)).status_code == 200
            await system.settle()
            assert await system.status(order_id) == "awaiting_approval"
    async with running(product_urls, clock, payment_webhook_secrets=NEW) as system:
        for secret, status in ((DEVELOPMENT_WEBHOOK_SECRET, 401), (NEW, 404)):
            event = succeeded(payment, awakeable_id="awk_" + "0" * 60)
            raw, headers = genuine(event, system.clock.now(), secret=secret)
            assert (await send(system, raw, headers)).status_code == status
