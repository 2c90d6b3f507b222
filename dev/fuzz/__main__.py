"""`make fuzz`: requests made up from the OpenAPI documents against a stack of its own, 10,000 for each service."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import schemathesis

from dev import terminal
from dev.credentials import service_token, user_token, webhook_secret
from dev.demo.stage import own_stack
from dev.figures import figure
from dev.fuzz.core import WEBHOOK, Headers, Send, Tally, Target, Values, request_words
from services.chassis.security.signing import sign

SERVICES = ("session", "shipping", "orchestrator")
SHOWN = 12


def over_http(base_url: str, client: httpx.Client, secret: str) -> Send:
    """Return a sender over real HTTP; half of the webhooks are signed, so that their bodies are read."""

    def send(case: schemathesis.Case[Any], headers: Mapping[str, str]) -> httpx.Response:
        request = client.build_request(**request_words(case, base_url, headers))
        body = request.read()
        if case.path == WEBHOOK and len(body) % 2:
            request.headers.update(sign(secret, f"evt_{len(body)}", int(time.time()), body))
        return client.send(request)

    return send


def callers(tokens: Mapping[str, str], service: str) -> Headers:
    """Return whose headers are whose, for one service."""

    def headers(role: str) -> Mapping[str, str]:
        if role == "nobody":
            return {}
        if role == "garbage":
            return {"Authorization": "Bearer not.a.token"}
        token = service_token(tokens, "fuzz", f"order-saga/{service}") if role == "service" else None
        return {"Authorization": f"Bearer {token or user_token(tokens, 'alice', role)}"}

    return headers


async def values_of(urls: Mapping[str, str], tokens: Mapping[str, str]) -> Values:
    """Place an order and find what there is to name."""
    alice = {"Authorization": f"Bearer {user_token(tokens, 'alice', 'customer')}"}
    admin = {"Authorization": f"Bearer {user_token(tokens, 'root', 'admin')}"}
    address = {"name": "Ada", "street": "1 Row", "city": "London", "postal_code": "N1", "country": "GB"}
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        shop = f"{urls['session']}/users/alice"
        await http.post(f"{shop}/cart/items", json={"sku": "book", "quantity": 1}, headers=alice)
        placed = {"shipping_address": address, "order_id": "order-fuzz"}
        answer = await http.post(f"{shop}/checkout", json=placed, headers=alice | {"Idempotency-Key": "fuzz"})
        answer.raise_for_status()
        waiting: list[dict[str, Any]] = []
        for _ in range(100):
            waiting = (await http.get(f"{urls['orchestrator']}/approvals", headers=admin)).json()
            if waiting:
                break
            await asyncio.sleep(0.2)
        paid = (await http.get(f"{urls['payment']}/payments?order_id=order-fuzz")).json()["payments"]
    return {
        "user_id": ["alice"],
        "sku": ["book", "mug"],
        "order_id": ["order-fuzz"],
        "saga_id": [waiting[0]["saga_id"]],
        "name": ["admin_approval"],
        "awakeable_id": [paid[0]["awakeable_id"]],
        "token": [waiting[0]["link"].rpartition("/")[2]],
    }


async def fuzz_stack(requests: int, number: int, data: Path) -> bool:
    unlimited = {"ADDRESS_REQUESTS_PER_S": "0", "USER_REQUESTS_PER_S": "0", "LOG_LEVEL": "warning"}
    good = True
    async with own_stack(data, unlimited) as (_, running):
        values = await values_of(running.urls, running.secrets)
        for service in SERVICES:
            url = running.urls[service]
            with httpx.Client(trust_env=False, timeout=60, follow_redirects=False) as client:
                send = over_http(url, client, webhook_secret(running.secrets))
                document = (await asyncio.to_thread(client.get, f"{url}/openapi.json")).json()
                target = Target(service, document, send, callers(running.secrets, service), values)
                began = time.monotonic()
                tally = await asyncio.to_thread(target.fuzz, requests, number)
            good = _report(service, tally, number, time.monotonic() - began) and good
    return good


def _report(service: str, tally: Tally, number: int, took_s: float) -> bool:
    server_errors = sum(count for status, count in tally.statuses.items() if status >= 500)
    broken = server_errors + len(tally.failures)
    figure(
        "G24",
        trials=tally.requests,
        violations=broken,
        what=f"made-up requests to {service}",
        seed=number,
        test="make fuzz",
    )
    spread = ", ".join(f"{status}: {count}" for status, count in sorted(tally.statuses.items()))
    terminal.done(
        f"{service:<12} {tally.requests} requests to {len(tally.routes)} routes in {took_s:.0f} s,"
        f" {server_errors} x 5xx, {len(tally.failures)} routes with findings"
    )
    terminal.busy(f"{'':<12} {spread}")
    for route, failure in list(tally.failures.items())[:SHOWN]:
        terminal.fail(f"{route}: {failure}")
    return not tally.failures


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--requests", type=int, default=10_000, help="requests for each service (10000)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="replays a run")
    wanted = parser.parse_args()
    terminal.heading(f"Fuzzing, seed {wanted.seed}")
    data = Path(tempfile.mkdtemp(prefix="order-saga-fuzz-"))
    try:
        good = asyncio.run(fuzz_stack(wanted.requests, wanted.seed, data))
    finally:
        shutil.rmtree(data, ignore_errors=True)
    if not good:
        terminal.fail(f"run it again with ARGS='--seed {wanted.seed}'")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
