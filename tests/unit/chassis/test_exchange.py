"""What is sent to other services and read of their answers: as it was said, to the address that was meant."""

import httpx
import pytest

from services.chassis.clock import Clock
from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.outbound.exchange import Address, Site, origin
from services.chassis.outbound.http import ServiceClient, outbound_http
from services.chassis.settings import ChassisSettings
from tests.support.clock import ManualClock
from tests.unit.chassis.answers import WAYS, answered, answering, calling
from tests.unit.chassis.scripted import serving


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b'{"n": 123456789012345678901234567890}', {"n": 123456789012345678901234567890}),
        (b'{"n": 18446744073709551616}', {"n": 18446744073709551616}),
        (b'{"n": -9223372036854775809, "x": 0.1}', {"n": -9223372036854775809, "x": 0.1}),
        (b'"\\ud83d"', "\ud83d"),
        (b"\xef\xbb\xbf{}", {}),
        (b"1e400", float("inf")),
        (b'{"a": 1, "a": 2}', {"a": 2}),
    ],
)
async def test_an_answer_is_read_as_it_was_said(clock: ManualClock, text: bytes, value: object) -> None:
    """No integer is rounded, and what only the slower parser takes is taken."""
    async with calling(answering(200, text), clock) as client:
        data = (await client.request("POST", "/x")).data
    assert data == value
    if isinstance(value, dict):
        assert {name: type(item) for name, item in data.items()} == {name: type(item) for name, item in value.items()}


async def test_a_refusal_is_definite_though_its_words_are_cut(clock: ManualClock) -> None:
    """A detail that ends within a character is JSON that not every parser takes."""
    async with calling(answering(409, b'{"code": "sold", "detail": "\\ud83d"}'), clock) as client:
        with pytest.raises(RemoteRefused):
            await client.request("POST", "/x")


async def test_a_body_that_is_not_json_is_not_sent(clock: ManualClock) -> None:
    """A number that JSON does not have is the caller's mistake."""
    async with calling(answering(204), clock) as client:
        with pytest.raises(ValueError, match="not JSON compliant"):
            await client.request("POST", "/x", body={"n": float("nan")})


@WAYS
@pytest.mark.parametrize("key", ["é", "a\r\nX-Acting-User: admin"])
async def test_a_header_that_cannot_be_sent_is_not_sent(clock: ManualClock, way: str, key: str) -> None:
    """Neither in another alphabet nor as two lines; MockTransport alone would take the latter."""
    async with answered(way, clock, 204, None) as client:
        if way == "httpx" and key.isascii():
            return
        with pytest.raises(RemoteUnknown, match="LocalProtocolError"):
            await client.request("POST", "/x", key=key)


BASES = ["http://there", "http://there:80/", "https://pay.example:8443/v1", "http://[::1]:8000", "http://10.0.0.1/a/b/"]
PATHS = [
    "/",
    "/x",
    "/orders/ord_a-B.9~z/steps:2",
    "/a//b",
    "/a/../b",
    "/a/./b",
    "/a/.b",
    "/a/b/",
    "/a b",
    "/a%20b/%2e%2e/%zz",
    "/é/ü",
    "/a?b=c&d",
    "/a#b",
    '/a\\b|c"d<e>',
    "/" + "a" * 2_000,
]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("path", PATHS)
def test_an_address_is_what_httpx_makes_of_it(base: str, path: str) -> None:
    """The short way for plain paths ends where the long one does."""
    url = httpx.URL(base.rstrip("/") + path)
    made = Site(base).address(path)
    assert httpx.URL(made.url) == url
    assert (made.origin, made.target) == (origin(url), url.raw_path.decode())
    assert made.target.isprintable()
    assert " " not in made.target


def test_parameters_are_part_of_the_target() -> None:
    """Encoded, so that none of them ends the line."""
    assert Site("http://there/v1/").address("/x", {"a": "1 2\r\n", "b": "&"}) == Address(
        "http://there/v1/x?a=1+2%0D%0A&b=%26", "http://there:80", "/v1/x?a=1+2%0D%0A&b=%26"
    )


@pytest.mark.parametrize("path", ["@elsewhere/x", "/x\r\nX: y", "0/x", ".elsewhere/x"])
async def test_a_path_does_not_lead_elsewhere(path: str) -> None:
    """Neither to another host or port, nor out of its line."""
    async with (
        serving(b"HTTP/1.1 204 No\r\n\r\n") as server,
        outbound_http(ChassisSettings(shipping_url=server.url)) as http,
    ):
        client = ServiceClient(service="shipping", base_url=server.url, http=http, clock=Clock(), tokens=None)
        with pytest.raises(RemoteUnknown, match=r"not called, as|InvalidURL"):
            await client.request("GET", path)
    assert not server.opened


async def test_our_own_calls_reach_nobody_else() -> None:
    """The list holds on the short way as well: another port of the same host is not called, and we are told why."""
    async with (
        serving(b"HTTP/1.1 204 No\r\n\r\n") as server,
        outbound_http(ChassisSettings(shipping_url="http://127.0.0.1:9")) as http,
    ):
        client = ServiceClient(service="shipping", base_url=server.url, http=http, clock=Clock(), tokens=None)
        with pytest.raises(
            RemoteUnknown, match=r"not called, as http://127\.0\.0\.1:[0-9]+ is none of the hosts that we call"
        ):
            await client.request("GET", "/x")
    assert not server.opened
