"""The service as a process and as a document: health, docs, replicas, and a life without the other services."""

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.chassis.security.tokens import mint_user_token
from services.session.settings import SessionSettings
from tests.postgres.session.conftest import SHELVES
from tests.postgres.session.shop import Shop, opened
from tests.support.clock import ManualClock
from tests.support.tree import copy_alone


async def test_health(shop: Shop) -> None:
    """The service lives, is ready with its named check, and tells its metrics."""
    assert (await shop.client.get("/healthz")).status_code == 200
    ready = await shop.client.get("/readyz")
    assert (ready.status_code, ready.json()["checks"]) == (200, {"postgres": "ok"})
    metrics = (await shop.client.get("/metrics")).text
    assert "http_requests_total" in metrics
    assert "outbox_lag_seconds" in metrics


async def test_every_call_is_documented_with_an_example(shop: Shop) -> None:
    """The document has an example for every body that a call takes, and a summary of what it does."""
    document = (await shop.client.get("/openapi.json")).json()
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation.get("description") or operation.get("summary"), (method, path)
            if "requestBody" in operation:
                content = operation["requestBody"]["content"]["application/json"]
                assert content.get("examples"), (method, path)
    assert (await shop.client.get("/docs")).status_code == 200


async def test_the_documented_examples_work(shop: Shop) -> None:
    """What the document shows can be sent as it stands, in the order of an order's life."""
    paths = (await shop.client.get("/openapi.json")).json()["paths"]

    def example(path: str, method: str = "post") -> object:
        content = paths[path][method]["requestBody"]["content"]["application/json"]
        return list(content["examples"].values())[-1]["value"]

    alice, root, service = shop.bearer("alice"), shop.bearer("root", "admin"), shop.service
    keyed = alice | {"Idempotency-Key": "k-1"}
    calls: list[tuple[str, str, str, dict[str, str], int]] = [
        ("put", "/catalog/{sku}", "/catalog/book", root, 200),
        ("post", "/users/{user_id}/cart/items", "/users/alice/cart/items", alice, 200),
        ("post", "/users/{user_id}/checkout", "/users/alice/checkout", keyed, 202),
        ("put", "/reservations/{order_id}", "/reservations/order-123", service, 200),
        ("post", "/checkouts/{order_id}/executed", "/checkouts/order-123/executed", service, 200),
        ("put", "/users/{user_id}/cart/items/{sku}", "/users/alice/cart/items/book", alice, 200),
        (
            "post",
            "/users/{user_id}/orders/{order_id}/cancel",
            "/users/alice/orders/order-123/cancel",
            alice,
            202,
        ),
        ("post", "/events", "/events", service, 204),
    ]
    for method, path, url, headers, status in calls:
        answer = await shop.client.request(method, url, json=example(path, method), headers=headers)
        assert answer.status_code == status, (path, answer.text)
    assert (await shop.order("alice", "order-123"))["status"] == "shipped"


async def test_two_replicas_are_one_service(session_database: Database, session_url: str, clock: ManualClock) -> None:
    """What one replica has accepted the other knows, and concurrent work on both adds up."""
    async with opened(session_url, clock) as one, opened(session_url, clock) as two:
        for sku, pieces in SHELVES.items():
            await one.stock(sku, pieces)
        await asyncio.gather(*(shop.add("alice", "book") for shop in (one, two) * 10))
        assert (await two.cart("alice"))["items"][0]["quantity"] == 20
        answers = await asyncio.gather(*(shop.check_out("alice", key="k-1") for shop in (one, two) * 4))
        assert len({answer.text for answer in answers if answer.status_code == 202}) == 1
        assert len(await two.messages()) == 1
        answers = await asyncio.gather(
            *(shop.reserve(f"order-{n}", {"mug": 1}) for n, shop in enumerate((one, two) * 5))
        )
        assert sorted(answer.status_code for answer in answers) == [200] * 5 + [409] * 5
        await two.check_balance(SHELVES)


@pytest.mark.scenario("RC1")
def test_the_process_lives_alone_and_keeps_what_it_acknowledged(session_url: str, tmp_path: Path) -> None:
    """`python -m services.session` runs without the other services' folders; after kill -9 nothing is lost."""
    copy_alone("session", tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {"PATH": os.environ["PATH"], "SESSION_DATABASE_URL": session_url, "PORT": str(port)}
    secret = SessionSettings.load(database_url=session_url).auth_jwt_secret.get_secret_value()
    token = mint_user_token(secret, sub="alice", scope="customer", clock=Clock())
    quantities = []
    for added in (1, 2):
        process = subprocess.Popen([sys.executable, "-m", "services.session"], cwd=tmp_path, env=environment)
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {token}"},
                transport=httpx.HTTPTransport(retries=8),  # waits, doubling from half a second, until it listens
            ) as client:
                assert client.get("/readyz").status_code == 200
                answer = client.post("/users/alice/cart/items", json={"sku": "book", "quantity": added})
            quantities.append(answer.json()["items"][0]["quantity"])
        finally:
            process.kill()
            process.wait()
    assert quantities == [1, 3]
