"""Who may call what: every route of the contract, with every kind of caller."""

from dataclasses import dataclass, replace
from urllib.parse import quote

import httpx
import pytest

from services.chassis.security.tokens import ServiceTokens, mint_token
from tests.postgres.session.shop import ADDRESS, USD_19_99, Shop, check_refused
from tests.support.clock import ManualClock


@dataclass(frozen=True, slots=True)
class Route:
    """A call, who may make it, and a body that would be accepted."""

    method: str
    path: str
    caller: str
    body: object = None


EVENT = {
    "id": "evt-1",
    "source": "/o",
    "type": "order.approved",
    "subject": "order-1",
    "data": {"order_id": "order-1", "attempt": 1, "status": "approved"},
}
ROUTES = [
    Route("PUT", "/catalog/book", "admin", {"name": "Book", "price": USD_19_99, "stock": 5}),
    Route("POST", "/users/carol/erase", "admin", {"reason": "ticket 4711"}),
    Route("GET", "/users/alice/cart", "customer"),
    Route("POST", "/users/alice/cart/items", "customer", {"sku": "book", "quantity": 1}),
    Route("PUT", "/users/alice/cart/items/book", "customer", {"quantity": 1}),
    Route("DELETE", "/users/alice/cart/items/book", "customer"),
    Route("POST", "/users/alice/checkout", "customer", {"shipping_address": ADDRESS}),
    Route("GET", "/users/alice/orders", "customer"),
    Route("GET", "/users/alice/orders/order-1", "customer"),
    Route("POST", "/users/alice/orders/order-1/cancel", "customer", {"reason": "too slow"}),
    Route("PUT", "/reservations/order-1", "service", {"attempt": 1, "items": [{"sku": "book", "quantity": 1}]}),
    Route("DELETE", "/reservations/order-1?attempt=1", "service"),
    Route("POST", "/checkouts/order-1/executed", "service", {"attempt": 1}),
    Route("POST", "/events", "service", EVENT),
    Route("GET", "/dead-letters", "admin"),
    Route("POST", "/dead-letters/msg-1/retry", "admin", {"reason": "mended"}),
    Route("POST", "/dead-letters/msg-1/discard", "admin", {"reason": "needless"}),
]


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


def test_every_route_is_listed(shop: Shop) -> None:
    """The matrix covers every route of the document except the public ones."""
    documented = {
        (method.upper(), path)
        for path, operations in shop.app.openapi()["paths"].items()
        for method in operations
        if path not in {"/healthz", "/readyz", "/metrics"}
    }
    listed = {
        (
            route.method,
            route.path.split("?")[0]
            .replace("alice", "{user_id}")
            .replace("carol", "{user_id}")
            .replace("order-1", "{order_id}")
            .replace("msg-1", "{message_id}"),
        )
        for route in ROUTES
    }
    assert {(m, p.replace("{sku}", "book")) for m, p in documented} == listed | {("GET", "/catalog")}


@pytest.mark.parametrize("route", ROUTES, ids=named)
@pytest.mark.scenario("SEC-b", "SEC-c")
async def test_callers(shop: Shop, clock: ManualClock, route: Route) -> None:
    """Nobody, a wrong role, a forged token and another user are told apart from the one who may call, as documented."""
    await shop.ordered("alice", "order-1", {"book": 1}, key="k-0")
    user_secret = shop.settings.auth_jwt_secret.get_secret_value()
    other_service = ServiceTokens(
        secret=shop.settings.service_token_secret.get_secret_value(), issuer="orchestrator", clock=clock
    ).mint("shipping")
    forged = mint_token(
        user_secret,
        subject="orchestrator",
        scope="service customer admin",
        audience="order-saga/session",
        issuer="orchestrator",
        now=clock.now().timestamp(),
        life_s=60,
    )
    callers = {
        "admin": shop.bearer("root", "admin"),
        "customer": shop.bearer("alice"),
        "service": shop.service,
        "claims to be a service": shop.bearer("alice", "service"),
    }
    for caller, headers in callers.items():
        answer = await call(shop, route, headers)
        if caller == route.caller:
            is_unknown = answer.status_code == 404 and answer.json()["code"] != "dead-letter-unknown"
            assert not is_unknown, answer.text
            assert answer.status_code not in {401, 403}, answer.text
        else:
            check_refused(answer, 403, "forbidden")
    bad: tuple[dict[str, str], ...] = (
        {},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic YTpi"},
        {"Authorization": f"Bearer {forged}"},
        {"Authorization": f"Bearer {other_service}"},
    )
    for headers in bad:
        answer = await call(shop, route, headers)
        check_refused(answer, 401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    if route.caller == "customer":
        check_refused(await call(shop, route, shop.bearer("bob")), 404, "not-found")


async def test_an_expired_token_is_refused(shop: Shop, clock: ManualClock) -> None:
    """A token is refused once its life is over, by the clock that the tests move."""
    headers = shop.bearer("alice")
    clock.advance(3_601)
    check_refused(await shop.client.get("/users/alice/cart", headers=headers), 401, "unauthenticated")


async def test_what_is_wrong_is_told_without_touching_anything(shop: Shop) -> None:
    """A refused caller changes nothing: no basket, no key, no reservation."""
    for route in ROUTES:
        await call(shop, route, {})
        await call(shop, route, shop.bearer("bob", "nobody"))
    for table in ("carts", "orders", "reservations", "idempotency", "inbox", "outbox"):
        assert await shop.rows(f"SELECT * FROM {table}") == []


@pytest.mark.parametrize("bad", ["a b", "a.b", "x" * 65, "é", "a%00b", "~"])
async def test_identifiers_in_paths(shop: Shop, bad: str) -> None:
    """An order id or sku of another form is 422; a user id that is not the caller's is 404 in any case."""
    alice = shop.bearer("alice")
    for answer in (
        await shop.client.get(f"/users/alice/orders/{bad}", headers=alice),
        await shop.client.put(f"/users/alice/cart/items/{bad}", json={"quantity": 1}, headers=alice),
        await shop.client.delete(f"/reservations/{bad}?attempt=1", headers=shop.service),
    ):
        check_refused(answer, 422, "invalid")
    assert (await shop.client.get(f"/users/{bad}/cart", headers=alice)).status_code in {404, 422}


@pytest.mark.parametrize("sub", ["zoë", "zoe@example.com", "auth0|5f7c", "x" * 65])
async def test_a_customer_is_named_by_a_user_id(shop: Shop, sub: str) -> None:
    """A customer whose token has a subject of another form is told so at the door, and leaves nothing behind."""
    for route in ROUTES:
        if route.caller == "customer":
            theirs = replace(route, path=route.path.replace("alice", quote(sub, safe="")))
            answer = await call(shop, theirs, shop.bearer(sub))
            check_refused(answer, 422, "invalid")
            assert [fault["where"] for fault in answer.json()["errors"]] == ["path.user_id"]
    assert await shop.rows("SELECT * FROM carts") == []


async def call(shop: Shop, route: Route, headers: dict[str, str]) -> httpx.Response:
    keyed = headers | ({"Idempotency-Key": "k-1"} if route.path.endswith("/checkout") else {})
    return await shop.client.request(route.method, route.path, json=route.body, headers=keyed)
