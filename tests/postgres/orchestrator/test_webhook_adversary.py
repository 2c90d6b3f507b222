"""The payment webhook under attack: nothing forged, stale or misshapen is believed, and nothing is a 5xx."""

import json
from datetime import timedelta
from typing import Any

import httpx
import pytest

from tests.postgres.orchestrator.acts import audited, unpaid
from tests.support.system import System, signed, succeeded

FORGED: list[dict[str, Any]] = [
    {"webhook_signature": None},
    {"webhook_signature": ""},
    {"webhook_signature": "v1,"},
    {"webhook_signature": "v1,AAAA"},
    {"webhook_signature": "v1,é".encode()},
    {"webhook_signature": "v2,AAAA"},
    {"webhook_timestamp": None},
    {"webhook_timestamp": "nan"},
    {"webhook_timestamp": "1_0"},
    {"webhook_timestamp": "٣".encode()},
    {"webhook_timestamp": "0"},
    {"webhook_timestamp": "99999999999"},
    {"webhook_id": None},
    {"webhook_id": "evt_other"},
    {"secret": "whsec_b3RoZXItc2VjcmV0LW90aGVyLXNlY3JldC1vdGhlci1zZWNyZXQ="},
]


NONSENSE: list[tuple[bytes, int]] = [
    (b" ", 400),
    (b"{", 400),
    (b"\xff\xfe", 400),
    (b"null", 422),
    (b"[]", 422),
    (b"{}", 422),
    (b'{"type": "payment.exploded", "timestamp": "2026-11-24T10:00:00Z", "data": {}}', 422),
    (b'{"type": "payment.succeeded", "timestamp": "2026-11-24T10:00:00Z", "data": {}}', 422),
    (b'{"type": "payment.succeeded", "timestamp": "2026-11-24T10:00:00Z", "data": null}', 422),
    (b'{"type": "payment.succeeded", "timestamp": 7, "data": {}}', 422),
    (b'{"a": NaN}', 400),
    (b'{"a": "\\u0000"}', 422),
    (b'{"a": "\\ud800"}', 422),
    (b'{"a": 99999999999999999999999}', 422),
    (b"[" * 5000 + b"]" * 5000, 422),
]


MISSHAPEN: list[dict[str, Any]] = [
    {"amount": {"amount_minor": "1999", "currency": "USD"}},
    {"amount": {"amount_minor": True, "currency": "USD"}},
    {"amount": {"amount_minor": -1, "currency": "USD"}},
    {"amount": {"amount_minor": 19.99, "currency": "USD"}},
    {"amount": {"amount_minor": 1999, "currency": "usd"}},
    {"amount": {"amount_minor": 1999, "currency": "USD", "more": 1}},
    {"payment_id": ""},
    {"payment_id": "x" * 256},
    {"payment_id": 7},
    {"awakeable_id": None},
    {"order_id": "../order"},
    {"surprise": "field"},
]


async def test_what_is_not_signed_by_the_processor_is_401(system: System) -> None:
    """No forged, stale or unsigned event is believed, and none breaks the service."""
    payment = await unpaid(system)
    for headers in FORGED:
        answer = await system.deliver(succeeded(payment), **headers)
        assert answer.status_code == 401, headers
        assert answer.headers["content-type"] == "application/problem+json"
    await system.settle()
    assert await system.status("order-1") == "pending_payment"


async def test_a_changed_body_or_an_old_event_is_401(system: System) -> None:
    """The signature covers every byte, and for 300 seconds only."""
    payment = await unpaid(system)
    raw = json.dumps(succeeded(payment)).encode()
    headers = signed(raw, event_id="evt_1", at=system.clock.now())
    changed = raw.replace(b"1999", b"1998")
    answer = await system.call("POST", "orchestrator", "/webhooks/payments", content=changed, headers=headers)
    assert answer.status_code == 401
    for offset, status in ((-301, 401), (301, 401), (-299, 200)):
        at = system.clock.now() + timedelta(seconds=offset)
        headers = signed(raw, event_id="evt_1", at=at)
        answer = await system.call("POST", "orchestrator", "/webhooks/payments", content=raw, headers=headers)
        assert answer.status_code == status, offset


@pytest.mark.scenario("G21", "W7")
async def test_a_repeat_under_another_id_before_the_signed_one_is_a_repeat(system: System) -> None:
    """What is recorded is the id that was signed, wherever it stands among those that were sent."""
    payment = await unpaid(system)
    event = succeeded(payment) | {"type": "payment.refunded"}
    del event["data"]["transaction_id"]
    raw = json.dumps(event).encode()
    genuine = [(name, str(value)) for name, value in signed(raw, event_id="evt_1", at=system.clock.now()).items()]
    for more in ([], [("webhook-id", "evt_2")], [("webhook-id", "evt_3")]):
        headers = httpx.Headers([*more, *genuine])
        answer = await system.call("POST", "orchestrator", "/webhooks/payments", content=raw, headers=headers)
        assert answer.status_code == 200
    assert await audited(system) == ["payment.refunded"]


async def test_the_signature_is_over_the_raw_bytes(system: System) -> None:
    """The same event in another spelling is another body: its signature does not hold."""
    payment = await unpaid(system)
    raw = json.dumps(succeeded(payment)).encode()
    headers = signed(raw, event_id="evt_1", at=system.clock.now())
    for other in (raw + b" ", raw.replace(b": ", b":"), json.dumps(json.loads(raw), sort_keys=True).encode()):
        assert other != raw
        answer = await system.call("POST", "orchestrator", "/webhooks/payments", content=other, headers=headers)
        assert answer.status_code == 401
    answer = await system.call("POST", "orchestrator", "/webhooks/payments", content=raw, headers=headers)
    assert answer.status_code == 200


async def test_signed_nonsense_is_refused_politely(system: System) -> None:
    """A genuine signature over something else than an event is 4xx, never 5xx, and is not quoted."""
    for raw, status in NONSENSE:
        answer = await system.deliver({}, raw=raw)
        assert answer.status_code == status, raw[:80]
        assert "exploded" not in answer.text


async def test_nothing_is_read_before_its_signature_holds(system: System) -> None:
    """What nobody has signed is 401 whatever it is, so that nobody makes us read it; and 429 if there was too much."""
    limits = system.switchboard.apps["orchestrator"].state.chassis.limits
    for raw, _ in NONSENSE:
        answer = await system.deliver({}, raw=raw, webhook_signature="v1,AAAA")
        assert answer.status_code == 401, raw[:80]
    while not limits._addresses.wait_s("127.0.0.1"):
        limits.charge_address("127.0.0.1")
    answer = await system.deliver({}, raw=b"{", webhook_signature="v1,AAAA")
    assert (answer.status_code, answer.json()["code"]) == (429, "too-many-requests")
    assert (await system.deliver(succeeded(await unpaid(system)))).status_code == 200


async def test_an_event_of_another_shape_is_422(system: System) -> None:
    """Strings are no numbers, unknown fields are refused, and the problem says where."""
    payment = await unpaid(system)
    for change in MISSHAPEN:
        answer = await system.deliver(succeeded(payment, **change))
        assert answer.status_code == 422, change
        assert answer.json()["errors"], change
    await system.settle()
    assert await system.status("order-1") == "pending_payment"


@pytest.mark.scenario("W16")
async def test_a_body_over_the_limit_is_413(system: System) -> None:
    """A MiB is the limit, signed or not."""
    answer = await system.deliver({}, raw=b'{"a": "' + b"x" * 1_048_576 + b'"}')
    assert answer.status_code == 413


async def test_a_webhook_that_is_not_json_is_415(system: System) -> None:
    """The content type is part of the contract."""
    payment = await unpaid(system)
    answer = await system.deliver(succeeded(payment), content_type="text/plain")
    assert answer.status_code == 415
