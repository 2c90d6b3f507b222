"""A small run of `make fuzz`, in this process: made-up requests to all three services; the full figure is its own."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import httpx
import pytest
import schemathesis

from dev.fuzz.core import WEBHOOK, Headers, Send, Target, request_words
from services.chassis.security.signing import sign
from services.orchestrator.settings import DEVELOPMENT_WEBHOOK_SECRET
from services.session.domain.checkout import saga_id
from tests.support.figures import figure
from tests.support.inprocess import URLS
from tests.support.system import System
from tests.system.steps import paid

REQUESTS = 120


def sender(system: System, base_url: str) -> Send:
    """Send from Hypothesis's thread on the event loop of the test; half of the webhooks are signed."""
    loop = asyncio.get_running_loop()

    def send(case: schemathesis.Case[Any], headers: Mapping[str, str]) -> httpx.Response:
        request = system.http.build_request(**request_words(case, base_url, headers))
        body = request.read()
        if case.path == WEBHOOK and len(body) % 2:
            at = int(system.clock.now().timestamp())
            request.headers.update(sign(DEVELOPMENT_WEBHOOK_SECRET, f"evt_{len(body)}", at, body))
        return asyncio.run_coroutine_threadsafe(system.http.send(request), loop).result(30)

    return send


def headers_of(system: System, service: str) -> Headers:
    issuer = "session" if service == "orchestrator" else "orchestrator"
    known = {
        "customer": system.bearer("alice"),
        "admin": system.admin,
        "service": system.service(service, issuer),
        "nobody": {},
        "garbage": {"Authorization": "Bearer not.a.token"},
    }
    return lambda role: known[role]


@pytest.mark.scenario("G24")
@pytest.mark.parametrize("service", ["session", "shipping", "orchestrator"])
async def test_no_request_gives_a_5xx_or_an_undocumented_answer(product: System, service: str) -> None:
    """Whatever is sent, the answer is one that the document knows, and an error is a problem without internals."""
    await paid(product, "order-1")
    values = {
        "user_id": ["alice"],
        "sku": ["book"],
        "order_id": ["order-1"],
        "saga_id": [saga_id("order-1", 1)],
        "name": ["admin_approval"],
        "awakeable_id": [await product.awakeable_id("order-1")],
        "token": [(await product.approval_path("order-1")).rpartition("/")[2]],
    }
    document = (await product.call("GET", service, "/openapi.json")).json()
    target = Target(service, document, sender(product, URLS[service]), headers_of(product, service), values)
    number = secrets.randbelow(10**9)
    tally = await asyncio.to_thread(target.fuzz, REQUESTS, number)
    broken = sum(count for status, count in tally.statuses.items() if status >= 500) + len(tally.failures)
    figure("G24", trials=tally.requests, violations=broken, what=f"made-up requests to {service}", seed=number)
    assert not tally.failures, (number, tally.failures)
    assert tally.requests >= REQUESTS
    assert not [status for status in tally.statuses if status >= 500]
