"""Bad input of every kind: a problem with the right status, and never a 5xx."""

import gzip
import json
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.unit.chassis.sample import check_problem

GOOD = {"sku": "a", "quantity": 1}
JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b'{"sku": "\\u0000", "quantity": 1}', 422, "invalid"),
        (b'{"sku": "\\ud800", "quantity": 1}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 99999999999999999999999}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1' + b"0" * 5_000 + b"}", 422, "invalid"),
        (b'{"sku": "a", "quantity": NaN}', 400, "malformed"),
        (b'{"sku": "a", "quantity": 1, "price": Infinity}', 400, "malformed"),
        (b'{"sku": "a", "quantity": 1, "price": 1e999}', 422, "invalid"),
        (b"[" * 100_000, 422, "invalid"),
        (b'{"a":' * 60_000 + b"1" + b"}" * 60_000, 422, "invalid"),
        (b'{"sku": "a", "sku": "b", "quantity": 1}', 400, "malformed"),
        (b'{"sku": "a"', 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b"", 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"[]", 422, "invalid"),
        (b'"text"', 422, "invalid"),
        (b'{"sku": "a", "quantity": "1"}', 422, "invalid"),
        (b'{"sku": "a", "quantity": true}', 422, "invalid"),
        (b'{"sku": "a", "quantity": -1}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 0}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1.5}', 422, "invalid"),
        (b'{"sku": "a", "quantity": 1, "marker": 1}', 422, "invalid"),
        (b'{"sku": 7, "quantity": 1}', 422, "invalid"),
        (b'{"quantity": 1}', 422, "invalid"),
    ],
)
async def test_a_bad_body_is_a_problem(client: httpx.AsyncClient, body: bytes, status: int, code: str) -> None:
    """Everything that FastAPI's defaults take or answer with 500 is a 400 or 422 problem."""
    check_problem(await client.post("/lines", content=body, headers=JSON), status, code)


async def test_a_refusal_never_echoes_the_input(client: httpx.AsyncClient) -> None:
    """The errors say where and why, but hold neither the values nor the names that were sent."""
    body = {"sku": ["MARKER"], "quantity": "MARKER", "MARKER": "MARKER"}
    response = await client.post("/lines", json=body)
    document = check_problem(response, 422, "invalid")
    assert "MARKER" not in response.text
    assert {fault["where"] for fault in document["errors"]} == {"body.sku", "body.quantity", "body.?"}


async def test_an_unknown_parameter_is_refused_without_its_name(client: httpx.AsyncClient) -> None:
    """Wherever it stands among known ones: the fault is at `query.?`, and nothing is done."""
    for query in ("MARKER=1", "limit=5&MARKER", "limit=5&%4dARKER=", "Limit=MARKER"):
        document = check_problem(await client.get(f"/lines/a?{query}"), 422, "invalid")
        assert [fault["where"] for fault in document["errors"]] == ["query.?"], query
        assert "MARKER" not in str(document)
    assert (await client.get("/lines/a?limit=5")).json() == {"sku": "a", "limit": 5}


async def test_a_parameter_is_given_once(client: httpx.AsyncClient) -> None:
    """Of two values none is taken, not even where they are equal, and the fault says which parameter it is."""
    for query in ("limit=5&limit=6", "limit=5&limit=5", "limit=5&%6Cimit=6", "limit=&limit=5"):
        document = check_problem(await client.get(f"/lines/a?{query}"), 422, "invalid")
        assert document["errors"] == [{"where": "query.limit", "why": "is given more than once"}], query


@pytest.mark.parametrize("target", ["/lines/a%00b", "/lines/a?limit=%00", "/nowhere?a%00"])
async def test_a_nul_in_an_address_reaches_no_route(client: httpx.AsyncClient, target: str) -> None:
    """It is refused before anything is asked for it, whatever a route would say of its parameters."""
    document = check_problem(await client.get(target), 422, "invalid")
    assert document["errors"] == [{"where": "path or query", "why": "holds a NUL"}]


async def test_a_good_body_passes(client: httpx.AsyncClient) -> None:
    """A body within the rules reaches its route, chunked or not, with or without a charset."""
    assert (await client.post("/lines", json=GOOD)).status_code == 200

    async def chunks() -> AsyncIterator[bytes]:
        for byte in json.dumps(GOOD).encode():
            yield bytes([byte])

    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert (await client.post("/lines", content=chunks(), headers=headers)).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/json", "application/jsonx"])
async def test_another_content_type_is_refused(client: httpx.AsyncClient, kind: str) -> None:
    """A JSON route takes JSON only; no type at all is no JSON either."""
    body = json.dumps(GOOD).encode()
    response = await client.post("/lines", content=body, headers={"Content-Type": kind})
    check_problem(response, 415, "unsupported-media-type")
    check_problem(await client.post("/lines", content=body), 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "identity, gzip", "x-unknown"])
async def test_an_encoded_body_is_refused_as_what_it_is(client: httpx.AsyncClient, encoding: str) -> None:
    """Nothing is unpacked here, and a body that says that it is packed is not read as if it were not."""
    body = json.dumps(GOOD).encode()
    for sent in (body, gzip.compress(body)):
        response = await client.post("/lines", content=sent, headers=JSON | {"Content-Encoding": encoding})
        problem = check_problem(response, 415, "unsupported-media-type")
        assert "Content-Encoding" in problem["detail"]
    plain = await client.post("/lines", content=body, headers=JSON | {"Content-Encoding": "Identity"})
    assert plain.status_code == 200


async def test_a_form_route_takes_a_form(client: httpx.AsyncClient) -> None:
    """The same rule the other way round."""
    assert (await client.post("/form", data={"name": "x"})).json() == {"name": "x"}
    check_problem(await client.post("/form", json={"name": "x"}), 415, "unsupported-media-type")
    check_problem(await client.post("/form", data={"other": "x"}), 422, "invalid")


async def test_a_body_over_the_limit_is_refused_while_it_streams(client: httpx.AsyncClient) -> None:
    """20 MB are refused by their announced length, and after 1 MiB where none is announced."""
    check_problem(await client.post("/raw", content=b"x" * 20_000_000), 413, "too-large")
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 20_000_000:
            sent += 65_536
            yield b"x" * 65_536

    check_problem(await client.post("/raw", content=endless()), 413, "too-large")
    assert sent < 1_300_000
    assert (await client.post("/raw", content=b"x" * 1_048_576)).json() == {"size": 1_048_576}
    lying = {"Content-Length": "9" * 30}
    check_problem(await client.post("/raw", content=b"x", headers=lying), 413, "too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "unknown-route"),
        ("GET", "/lines/", 404, "unknown-route"),
        ("DELETE", "/lines", 405, "method-not-allowed"),
        ("BREW", "/lines", 405, "method-not-allowed"),
        ("DELETE", "/lines/a", 405, "method-not-allowed"),
        ("GET", "/lines/a%00b", 422, "invalid"),
        ("GET", "/lines/a?x=%00", 422, "invalid"),
        ("GET", "/lines/a%20b", 422, "invalid"),
        ("GET", "/lines/%ff", 422, "invalid"),
        ("GET", "/lines/" + "a" * 65, 422, "invalid"),
        ("GET", "/lines/a?limit=0", 422, "invalid"),
        ("GET", "/lines/a?limit=201", 422, "invalid"),
        ("GET", "/lines/a?limit=1_0", 422, "invalid"),
        ("GET", "/lines/a?limit=%D9%A3", 422, "invalid"),
        ("GET", "/lines/a?limits=5", 422, "invalid"),
        ("POST", "/raw?x", 422, "invalid"),
        ("GET", "/healthz?x=1", 422, "invalid"),
        ("GET", "/nowhere?x=1", 404, "unknown-route"),
        ("GET", "/lines/a?limit=" + "9" * 5_000, 422, "invalid"),
        ("GET", "/raise/conflict", 409, "conflict"),
        ("GET", "/raise/gone", 410, "gone"),
        ("GET", "/raise/busy", 429, "too-many-requests"),
        ("GET", "/raise/remote", 503, "unavailable"),
        ("GET", "/raise/lost", 503, "unavailable"),
    ],
)
async def test_every_error_is_a_problem(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], method: str, path: str, status: int, code: str
) -> None:
    """Routing, parameters and our own errors all answer alike."""
    response = await client.request(method, path)
    check_problem(response, status, code)
    assert "10.0.0.7" not in response.text
    if status in (429, 503):
        assert int(response.headers["Retry-After"]) >= 1
    if status == 405:
        assert response.headers["Allow"] == ("GET, HEAD, PATCH, PUT" if "lines/" in path else "POST")


@pytest.mark.parametrize("what", ["bug", "own"])
async def test_a_bug_is_a_500_without_internals(
    client: httpx.AsyncClient, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    """The answer says nothing, the log has the traceback."""
    response = await client.get(f"/raise/{what}")
    check_problem(response, 500, "internal")
    assert "secret internals" not in response.text
    out = capsys.readouterr().out
    assert "request.failed" in out
    assert "secret internals" in out
