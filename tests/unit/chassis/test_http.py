"""Calls to other services: each kind of answer is told apart, bounded in time and size."""

import asyncio
import json
from collections.abc import AsyncIterator

import httpx
import pytest
from pydantic import BaseModel

from services.chassis import logs, tracing
from services.chassis.errors import RemoteError, RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.chassis.outbound.exchange import origin
from services.chassis.outbound.http import outbound_http
from services.chassis.outbound.transport import AllowList
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.answers import WAYS, answered, calling


class Body(BaseModel):
    name: str


async def test_a_call_carries_everything_the_other_side_needs(clock: ManualClock) -> None:
    """Token, idempotency key, trace, acting user and request id go along; the answer's JSON comes back."""
    seen: list[httpx.Request] = []

    async def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(201, json={"ok": True})

    token = tracing.enter("00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    with logs.bound(request_id="req_1"):
        async with calling(handler, clock) as client:
            answer = await client.request(
                "POST", "/x", body=Body(name="é"), key="k", acting_user="alice", params={"a": "1"}
            )
    tracing.leave(token)
    assert (answer.status, answer.data) == (201, {"ok": True})
    (request,) = seen
    assert str(request.url) == "http://there/x?a=1"
    assert json.loads(request.content) == {"name": "é"}
    assert request.headers["Idempotency-Key"] == "k"
    assert request.headers["X-Acting-User"] == "alice"
    assert request.headers["X-Request-Id"] == "req_1"
    assert request.headers["traceparent"].startswith("00-" + "a" * 32)
    assert "b" * 16 not in request.headers["traceparent"]
    assert request.headers["Authorization"].startswith("Bearer ")


@pytest.mark.parametrize("name", ["zoë", "ann\n", "zoe@example.com", "a" * 65, ""])
async def test_an_acting_user_whom_the_other_side_would_not_take_is_not_named(clock: ManualClock, name: str) -> None:
    """A saga may be for whomever its author says; a call for one who is no user id is made all the same."""

    async def handler(request: httpx.Request) -> httpx.Response:
        assert "X-Acting-User" not in request.headers
        return httpx.Response(204)

    async with calling(handler, clock) as client:
        assert (await client.request("POST", "/x", acting_user=name)).status == 204


@pytest.mark.parametrize("body", ['{"raw": 1}', {"raw": 1}])
async def test_json_text_and_mappings_are_bodies_too(clock: ManualClock, body: str | dict[str, int]) -> None:
    """The outbox's JSON text is sent as it is; without tokens there is no Authorization."""

    async def handler(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"raw": 1}
        assert request.headers["content-type"] == "application/json"
        assert "authorization" not in request.headers
        return httpx.Response(204)

    async with calling(handler, clock, tokens=False) as client:
        assert (await client.request("PUT", "/x", body=body)).data is None


PROBLEM = {"code": "out-of-stock", "detail": "sku-1 is out of stock"}


@WAYS
@pytest.mark.parametrize(
    ("status", "document", "headers", "kind"),
    [
        (409, PROBLEM, {}, RemoteRefused),
        (422, PROBLEM, {}, RemoteRefused),
        (404, PROBLEM, {}, RemoteRefused),
        (410, PROBLEM, {}, RemoteRefused),
        (409, PROBLEM, {"Retry-After": "1"}, RemoteUnknown),
        (422, PROBLEM, {"Retry-After": "1"}, RemoteUnknown),
        (408, PROBLEM, {}, RemoteUnknown),
        (425, PROBLEM, {}, RemoteUnknown),
        (429, PROBLEM, {}, RemoteUnknown),
        (500, PROBLEM, {}, RemoteUnknown),
        (503, PROBLEM, {"Retry-After": "7"}, RemoteUnknown),
        (400, b"<html>bad gateway</html>", {}, RemoteUnknown),
        (422, {"detail": "no code"}, {}, RemoteUnknown),
        (422, {"code": 7}, {}, RemoteUnknown),
        (422, [1], {}, RemoteUnknown),
        (302, None, {"Location": "http://elsewhere/"}, RemoteUnknown),
        (200, b"<html>hello</html>", {}, RemoteUnknown),
        (200, b"[" * 100_000, {}, RemoteUnknown),
        (200, b'"' + b"x" * 2_000_000 + b'"', {}, RemoteUnknown),
        (200, b"{}", {"Content-Encoding": "br"}, RemoteUnknown),
        (401, PROBLEM, {}, RemoteMisconfigured),
        (403, PROBLEM, {}, RemoteMisconfigured),
        (404, None, {}, RemoteMisconfigured),
        (404, {"code": "unknown-route"}, {}, RemoteMisconfigured),
        (405, {"code": "method-not-allowed"}, {}, RemoteMisconfigured),
        (404, {"detail": "Not Found"}, {}, RemoteMisconfigured),
    ],
)
@pytest.mark.scenario("C16")
async def test_every_other_answer_is_told_apart(
    clock: ManualClock, way: str, status: int, document: object, headers: dict[str, str], kind: type[RemoteError]
) -> None:
    """Definite refusals, unknown outcomes and our own misconfiguration are three kinds of error."""
    async with answered(way, clock, status, document, headers) as client:
        with pytest.raises(RemoteError) as caught:
            await client.request("POST", "/x")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert caught.value.service == "shipping"
    if isinstance(caught.value, RemoteRefused):
        assert (caught.value.code, caught.value.message) == ("out-of-stock", "sku-1 is out of stock")
    if isinstance(caught.value, RemoteUnknown):
        assert caught.value.remote_code == ("out-of-stock" if document is PROBLEM else None)


@WAYS
@pytest.mark.parametrize("left_out", ["\0", "\ud800"])
async def test_the_words_of_a_refusal_can_be_stored(clock: ManualClock, way: str, left_out: str) -> None:
    """What JSON can say and Postgres cannot keep is left out of a refusal, which is written down."""
    async with answered(way, clock, 422, {"code": "no-such-street", "detail": f"no{left_out} such street"}) as client:
        with pytest.raises(RemoteRefused) as caught:
            await client.request("POST", "/x")
    assert caught.value.message.replace("?", "") == "no such street"


@WAYS
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("99999999", 86_400.0),
        ("Tue, 24 Nov 2026 10:00:30 GMT", 30.0),
        ("Tue, 24 Nov 2026 09:00:00 GMT", 0.0),
        ("1_0", None),
        ("٣", None),
        ("nan", None),
        ("-1", None),
        ("soon", None),
        ("Thu, 01 Jan 99999999999999999999 00:00:00 GMT", None),
        ("Thu, 01 Jan 2026 00:00:00 +99999999999999999999", None),
    ],
)
@pytest.mark.scenario("R9")
async def test_retry_after_is_read_or_ignored(clock: ManualClock, way: str, header: str, seconds: float | None) -> None:
    """Seconds and dates are read and bounded; nonsense is as good as nothing."""
    async with answered(way, clock, 503, None, {"Retry-After": header.encode()}) as client:
        with pytest.raises(RemoteUnknown) as caught:
            await client.request("POST", "/x")
    assert caught.value.retry_after_s == seconds


@WAYS
async def test_accepted_statuses_are_answers(clock: ManualClock, way: str) -> None:
    """A status that the caller settles by is an answer, unless it says: later, or: no such route."""
    async with answered(way, clock, 409, PROBLEM) as client:
        assert (await client.request("POST", "/x", accept=(409,))).data == PROBLEM
    async with answered(way, clock, 409, PROBLEM, {"Retry-After": "1"}) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", accept=(409,))
    async with answered(way, clock, 404, {"code": "unknown-route"}) as client:
        with pytest.raises(RemoteMisconfigured):
            await client.request("GET", "/x", accept=(404,))


@pytest.mark.parametrize("error", [httpx.ConnectError("no"), httpx.ReadTimeout("no"), httpx.RemoteProtocolError("no")])
async def test_no_answer_is_unknown(clock: ManualClock, error: httpx.HTTPError) -> None:
    """A connection that fails at any moment leaves open what has happened."""

    async def handler(_request: httpx.Request) -> httpx.Response:
        raise error

    async with calling(handler, clock) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x")


async def test_a_call_ends_at_its_deadline(clock: ManualClock) -> None:
    """A silent other side is unknown at the deadline; past it nothing is sent at all."""
    asked = 0

    async def handler(_request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        await asyncio.Event().wait()
        raise AssertionError

    async with calling(handler, clock) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", deadline=clock.monotonic() + 0.02)
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", deadline=clock.monotonic())
    assert asked == 1


async def test_an_answer_that_drips_is_cut(clock: ManualClock) -> None:
    """A body that never ends is cut at the deadline as well."""

    async def drip() -> AsyncIterator[bytes]:
        yield b"["
        await asyncio.Event().wait()

    async def handler(_request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=drip())

    async with calling(handler, clock) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", deadline=clock.monotonic() + 0.02)


async def test_only_known_hosts_are_called() -> None:
    """An address that is not in the settings is not called, by whatever way it got here; nor is a redirect followed."""
    called: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        called.append(str(request.url))
        return httpx.Response(302, headers={"Location": "http://169.254.169.254/latest"})

    transport = AllowList(httpx.MockTransport(answer), [origin("http://shipping:8002"), origin("https://pay.example")])
    async with httpx.AsyncClient(transport=transport) as http:
        for url in ("http://shipping:8002/x", "https://pay.example/y", "https://pay.example:443/z"):
            assert (await http.get(url)).status_code == 302
        for url in (
            "http://shipping:8003/x",
            "http://shipping/x",
            "https://shipping:8002/x",
            "http://pay.example/",
            "http://shipping:8002@169.254.169.254/x",
            "http://169.254.169.254/latest",
            "http://localhost:5432",
        ):
            with pytest.raises(httpx.UnsupportedProtocol):
                await http.get(url)
    assert len(called) == 3


async def test_the_client_of_the_settings_calls_nobody_else() -> None:
    """What the services are built with holds the list of their settings, and verifies TLS."""
    async with outbound_http(ChassisSettings(shipping_url="http://127.0.0.1:9")) as http:
        with pytest.raises(httpx.UnsupportedProtocol):
            await http.get("http://example.org/")
        with pytest.raises(httpx.ConnectError):
            await http.get("http://127.0.0.1:9/")
        assert http.follow_redirects is False
        assert http.trust_env is False
