"""Idempotency keys across a rotation of ENCRYPTION_KEYS: the first answer again, another body still refused."""

import hashlib
import json

import httpx
import pytest

from services.chassis.inbound import strict_json
from services.chassis.postgres.database import Database
from tests.postgres.chassis import shop as shops
from tests.postgres.chassis.shop import Shop, headers
from tests.postgres.chassis.test_outbox import rows
from tests.support.clock import ManualClock

pytestmark = pytest.mark.usefixtures("capsys")
OLD, NEW = "an-old-key-that-is-long-enough-indeed", "a-new-key-that-is-long-enough-indeed"


async def wish(database: Database, clock: ManualClock, what: str) -> httpx.Response:
    """Ask a replica that has just been started for something, always under one key."""
    shop = Shop(database, clock)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(shop.app), base_url="http://shop") as client:
        return await client.post("/wishes", json={"what": what}, headers=headers(shop, "k"))


async def test_a_rotation_forgets_no_answer(
    database: Database, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under [old], [new, old] alike the answer comes again; what is stored is no plain hash of the request."""
    for keys in (OLD, f"{NEW},{OLD}"):
        monkeypatch.setenv("ENCRYPTION_KEYS", keys)
        monkeypatch.setattr(shops, "SETTINGS", type(shops.SETTINGS)())
        answer = await wish(database, clock, "tea")
        assert (answer.status_code, answer.json()) == (201, {"number": 1})
        assert ("Idempotent-Replayed" in answer.headers) is (keys != OLD)
        other = await wish(database, clock, "coffee")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    (stored,) = await rows(database, "select fingerprint from idempotency")
    canonical = strict_json.canonical(json.loads('{"what": "tea"}')).encode()
    assert stored[0] != hashlib.sha256(b"\0" + canonical).hexdigest()
