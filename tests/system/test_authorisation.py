"""Who may call what: two customers, an administrator, a service and nobody, on every route that OpenAPI knows."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.orchestrator.workflows import ADMIN_APPROVAL
from services.session.domain.checkout import saga_id
from tests.support.figures import figure
from tests.support.system import ADDRESS, System
from tests.system.steps import paid

SERVICES = ("session", "shipping", "orchestrator")
NOBODY, CUSTOMER, ADMIN, SERVICE = "nobody", "customer", "admin", "service"
BOTH = frozenset({ADMIN, SERVICE})
ANYONE: frozenset[str] = frozenset()
BY_ITSELF = frozenset({"by itself"})
"""The route asks for something else than a token: a signature, a sign-in."""

ROUTES: Mapping[str, frozenset[str]] = {
    "session GET /catalog": ANYONE,
    "session PUT /catalog/{sku}": frozenset({ADMIN}),
    "session GET /users/{user_id}/cart": frozenset({CUSTOMER}),
    "session POST /users/{user_id}/cart/items": frozenset({CUSTOMER}),
    "session PUT /users/{user_id}/cart/items/{sku}": frozenset({CUSTOMER}),
    "session DELETE /users/{user_id}/cart/items/{sku}": frozenset({CUSTOMER}),
    "session POST /users/{user_id}/checkout": frozenset({CUSTOMER}),
    "session GET /users/{user_id}/orders": frozenset({CUSTOMER}),
    "session GET /users/{user_id}/orders/{order_id}": frozenset({CUSTOMER}),
    "session POST /users/{user_id}/orders/{order_id}/cancel": frozenset({CUSTOMER}),
    "session PUT /reservations/{order_id}": frozenset({SERVICE}),
    "session DELETE /reservations/{order_id}": frozenset({SERVICE}),
    "session POST /checkouts/{order_id}/executed": frozenset({SERVICE}),
    "session POST /events": frozenset({SERVICE}),
    "session POST /users/{user_id}/erase": frozenset({ADMIN}),
    "shipping POST /shipments": frozenset({SERVICE}),
    "shipping GET /shipments/{order_id}": frozenset({SERVICE}),
    "shipping POST /shipments/{order_id}/cancel": frozenset({SERVICE}),
    "orchestrator POST /sagas": BOTH,
    "orchestrator GET /sagas": frozenset({ADMIN}),
    "orchestrator GET /sagas/{saga_id}": BOTH,
    "orchestrator GET /sagas/{saga_id}/steps": BOTH,
    "orchestrator GET /sagas/{saga_id}/result": BOTH,
    "orchestrator POST /sagas/{saga_id}/cancel": BOTH,
    "orchestrator POST /sagas/{saga_id}/pause": frozenset({ADMIN}),
    "orchestrator POST /sagas/{saga_id}/resume": frozenset({ADMIN}),
    "orchestrator POST /sagas/{saga_id}/retry": frozenset({ADMIN}),
    "orchestrator POST /sagas/{saga_id}/skip": frozenset({ADMIN}),
    "orchestrator POST /sagas/{saga_id}/restart": frozenset({ADMIN}),
    "orchestrator POST /sagas/{saga_id}/promises/{name}/resolve": BOTH,
    "orchestrator POST /sagas/{saga_id}/promises/{name}/reject": BOTH,
    "orchestrator POST /awakeables/{awakeable_id}/resolve": frozenset({SERVICE}),
    "orchestrator POST /awakeables/{awakeable_id}/reject": frozenset({SERVICE}),
    "orchestrator POST /users/{user_id}/erase": BOTH,
    "orchestrator POST /webhooks/payments": BY_ITSELF,
    "orchestrator GET /approvals": frozenset({ADMIN}),
    "orchestrator GET /approvals/{token}": BY_ITSELF,
    "orchestrator POST /approvals/{token}": frozenset({ADMIN}),
    "orchestrator GET /login": BY_ITSELF,
    "orchestrator POST /login": BY_ITSELF,
    "orchestrator POST /logout": BY_ITSELF,
    "orchestrator GET /audit": frozenset({ADMIN}),
    "session GET /dead-letters": frozenset({ADMIN}),
    "session POST /dead-letters/{message_id}/retry": frozenset({ADMIN}),
    "session POST /dead-letters/{message_id}/discard": frozenset({ADMIN}),
    "orchestrator GET /dead-letters": frozenset({ADMIN}),
    "orchestrator POST /dead-letters/{message_id}/retry": frozenset({ADMIN}),
    "orchestrator POST /dead-letters/{message_id}/discard": frozenset({ADMIN}),
    **{f"{service} GET {path}": ANYONE for service in SERVICES for path in ("/healthz", "/readyz", "/metrics")},
}
"""The contract, written down once more by hand: a route that is missing here has not been thought about."""


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of one service, as its OpenAPI document has it."""

    service: str
    method: str
    path: str
    operation: Mapping[str, Any]

    @property
    def name(self) -> str:
        return f"{self.service} {self.method} {self.path}"

    @property
    def roles(self) -> frozenset[str]:
        """Who may call it, by its document."""
        return frozenset(role for scheme in self.operation.get("security", ()) for role in scheme["HTTPBearer"])

    def body(self, schemas: Mapping[str, Any]) -> Any:
        """The first example of its body."""
        content = self.operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is None:
            return None
        if "example" in content:
            return content["example"]
        if "examples" in content:
            return next(iter(content["examples"].values()))["value"]
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        return schema["example"] if "example" in schema else schema["examples"][0]


async def routes(system: System) -> list[tuple[Route, Any]]:
    """Every operation of every service, with a body that its document gives as an example."""
    found = []
    for service in SERVICES:
        document = (await system.call("GET", service, "/openapi.json")).json()
        for path, item in document["paths"].items():
            for method, operation in item.items():
                route = Route(service, method.upper(), path, operation)
                found.append((route, route.body(document["components"]["schemas"])))
    return found


async def call(
    system: System, route: Route, body: Any, headers: Mapping[str, str], names: Mapping[str, str]
) -> httpx.Response:
    path = route.path.format_map(names)
    if route.method == "DELETE" and "reservations" in path:
        path += "?attempt=1"
    keyed = {**headers, "Idempotency-Key": f"key-{route.method}"} if route.path.endswith("checkout") else headers
    return await system.call(route.method, route.service, path, json=body, headers=keyed)


async def names_of_alice(system: System) -> dict[str, str]:
    """What Alice has: an order that waits for its approval, and everything that belongs to it."""
    await paid(system, "order-1")
    return {
        "user_id": "alice",
        "order_id": "order-1",
        "message_id": "msg-1",
        "sku": "book",
        "saga_id": saga_id("order-1", 1),
        "name": ADMIN_APPROVAL,
        "awakeable_id": await system.awakeable_id("order-1"),
        "token": (await system.approval_path("order-1")).rpartition("/")[2],
    }


def callers(system: System, service: str) -> dict[str, dict[str, str]]:
    return {
        "alice": system.bearer("alice"),
        "bob": system.bearer("bob"),
        ADMIN: system.admin,
        SERVICE: system.service(service, "orchestrator" if service != "orchestrator" else "session"),
        NOBODY: {},
    }


ROLE = {"alice": CUSTOMER, "bob": CUSTOMER, ADMIN: ADMIN, SERVICE: SERVICE, NOBODY: NOBODY}


async def test_the_documents_know_every_route_and_who_may_call_it(product: System) -> None:
    """The routes and roles of the three documents are those of the contract, no more and no fewer."""
    documented = {route.name: route.roles for route, _ in await routes(product)}
    assert documented == {name: roles - BY_ITSELF for name, roles in ROUTES.items()}


@pytest.mark.scenario("G23", "SEC-b", "SEC-c")
async def test_every_route_lets_in_whom_it_names_and_nobody_else(product: System) -> None:
    """Nobody is 401, another role 403, another customer 404, all without a trace; whoever may call is let in."""
    names = await names_of_alice(product)
    every = [(route, body) for route, body in await routes(product) if ROUTES[route.name] not in (ANYONE, BY_ITSELF)]
    assert len(every) == 42
    asked = [Try(*one, *caller) for one in every for caller in callers(product, one[0].service).items()]
    before = await state(product)
    violations = [await fault(product, one, names) for one in asked if not one.allowed]
    if await state(product) != before:
        violations.append("a refused call left a trace")
    let_in = sorted((one for one in asked if one.allowed), key=lambda one: one.route.method)  # what only looks is first
    violations += [await fault(product, one, names) for one in let_in]
    violations = [one for one in violations if one]
    figure("G23", trials=len(asked), violations=len(violations), what="callers of a kind at every route of OpenAPI")
    assert not violations


@dataclass(frozen=True, slots=True)
class Try:
    """One caller at one route, where everything that is named is Alice's."""

    route: Route
    body: Any
    caller: str
    headers: Mapping[str, str]

    @property
    def allowed(self) -> bool:
        return ROLE[self.caller] in ROUTES[self.route.name] and self.caller != "bob"

    @property
    def refusal(self) -> int:
        """How a caller is told who may not call."""
        return 401 if self.caller == NOBODY else 404 if ROLE[self.caller] in ROUTES[self.route.name] else 403


async def fault(system: System, one: Try, names: Mapping[str, str]) -> str:
    """Say what is wrong with how a caller is answered; nothing if all is well."""
    answer = await call(system, one.route, one.body, one.headers, names)
    well = is_let_in(answer) if one.allowed else is_refused(answer, one.refusal)
    return "" if well else f"{one.route.name} {one.caller}: {answer.status_code}: {answer.text}"


def is_refused(answer: httpx.Response, status: int) -> bool:
    return (
        answer.status_code == status
        and answer.headers["content-type"] == "application/problem+json"
        and ("www-authenticate" in answer.headers) == (status == 401)
    )


def is_let_in(answer: httpx.Response) -> bool:
    unknown_by_example = answer.json().get("code", "") if answer.status_code == 404 else ""
    return (
        answer.status_code not in {401, 403}
        and answer.status_code < 500
        and unknown_by_example in {"", "workflow-unknown", "shipment-unknown", "dead-letter-unknown"}
    )


async def state(system: System) -> Any:
    """What a refused call could have changed."""
    fleet, ledger, order = await system.fleet(), await system.ledger(), await system.order("order-1")
    audit = (await system.call("GET", "orchestrator", "/audit", headers=system.admin)).json()
    return fleet, ledger, order, audit, await system.saga("order-1"), await system.available()


@pytest.mark.scenario("SEC-c")
async def test_what_is_not_yours_looks_like_what_does_not_exist(product: System) -> None:
    """Bob cannot tell Alice's order, basket or user from ones that nobody has: same status, headers and words."""
    await paid(product, "order-1")
    bob = product.bearer("bob")
    wish = {"reason": "not mine"}
    asked = [
        ("GET", "/users/bob/orders/order-1", None),
        ("GET", "/users/bob/orders/order-none", None),
        ("GET", "/users/alice/orders/order-1", None),
        ("GET", "/users/alice/orders/order-none", None),
        ("GET", "/users/nobody/orders/order-1", None),
        ("GET", "/users/alice/orders", None),
        ("GET", "/users/nobody/orders", None),
        ("GET", "/users/alice/cart", None),
        ("GET", "/users/nobody/cart", None),
        ("POST", "/users/alice/orders/order-1/cancel", wish),
        ("POST", "/users/alice/orders/order-none/cancel", wish),
        ("POST", "/users/bob/orders/order-1/cancel", wish),
        ("POST", "/users/bob/orders/order-none/cancel", wish),
        ("POST", "/users/alice/cart/items", {"sku": "book", "quantity": 1}),
        ("POST", "/users/nobody/cart/items", {"sku": "book", "quantity": 1}),
    ]
    answers = {(m, p): await product.call(m, "session", p, json=body, headers=bob) for m, p, body in asked}
    looks = {looked_at(answer) for answer in answers.values()}
    assert len(looks) == 1, looks
    assert next(iter(looks))[0] == 404
    assert await product.status("order-1") == "awaiting_approval"


async def test_the_one_exception_is_the_taken_order_id(product: System) -> None:
    """Only a checkout under somebody else's order id tells that it exists, and nothing more of it."""
    await paid(product, "order-1")
    line = {"sku": "book", "quantity": 1}
    bob = product.bearer("bob")
    assert (await product.call("POST", "session", "/users/bob/cart/items", json=line, headers=bob)).status_code == 200
    answer = await product.call(
        "POST",
        "session",
        "/users/bob/checkout",
        json={"shipping_address": ADDRESS, "order_id": "order-1"},
        headers=bob | {"Idempotency-Key": "key-order-1"},  # Alice's key is not Bob's
    )
    assert (answer.status_code, answer.json()["code"]) == (409, "order-id-taken")
    assert "alice" not in answer.text


async def test_links_that_decide_nothing_look_alike(product: System) -> None:
    """A made-up token, a changed one and one of another round cannot be told apart, by an administrator either."""
    await paid(product, "order-1")
    token = (await product.approval_path("order-1")).rpartition("/")[2]
    others = ("x" * len(token), token[:-1] + ("A" if token[-1] != "A" else "B"), token[::-1])
    answers = [
        await product.call(
            "POST", "orchestrator", f"/approvals/{other}", json={"decision": "approve"}, headers=product.admin
        )
        for other in others
    ]
    assert {looked_at(answer)[0] for answer in answers} == {404}
    assert len({looked_at(answer) for answer in answers}) == 1


def looked_at(answer: httpx.Response) -> tuple[int, str, str]:
    """Everything of an answer that may not tell what exists."""
    headers = {name: value for name, value in answer.headers.items() if name not in {"x-request-id", "content-length"}}
    body = answer.json()
    body.pop("instance")
    return answer.status_code, str(sorted(headers.items())), str(sorted(body.items()))
