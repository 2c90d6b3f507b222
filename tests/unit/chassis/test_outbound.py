"""The services' own outbound client over real connections: one try, nothing believed that is not whole, no leaks."""

import asyncio
import datetime as dt
import ipaddress
import ssl
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis.clock import Clock
from services.chassis.errors import RemoteUnknown
from services.chassis.outbound.transport import OneTry, OutboundClient, tls_to
from tests.unit.chassis.scripted import OK, Talk, calling, hang, serving


async def drip(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send a body that does not come to its end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


async def cut(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """End in the middle of a body."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")
    await writer.drain()


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    ],
)
async def test_a_connection_is_used_again(answer: bytes) -> None:
    """Whatever the framing; what is sent is what the caller has said, without words of the library's own."""
    async with serving(answer) as server, calling(server) as client:
        for _ in range(3):
            assert (await client.request("POST", "/a/b", params={"c": "d e"}, body={"x": 1}, key="k")).data == {}
    assert server.opened == 1
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    names = {line.partition(b":")[0].lower() for line in head.split(b"\r\n")[1:]}
    assert head.startswith((b"POST /a/b?c=d+e HTTP/1.1\r\n", b"POST /a/b?c=d%20e HTTP/1.1\r\n"))
    assert names == {
        b"host", b"accept", b"accept-encoding", b"traceparent", b"content-type", b"content-length", b"idempotency-key"
    }  # fmt: skip
    assert body == b'{"x":1}'


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE"])
@pytest.mark.scenario("C16")
async def test_one_try_is_one_try(method: str) -> None:
    """A kept connection that ends without an answer is unknown; the library does not send the request again."""
    async with serving(OK, b"", OK) as server, calling(server) as client:
        await client.request(method, "/x")
        with pytest.raises(RemoteUnknown, match="ReadError"):
            await client.request(method, "/x")
        assert len(server.requests) == 2
        await client.request(method, "/x")
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        cut,
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"1" * 3_000_000,
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 302 Found\r\nLocation: /y\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    ],
)
@pytest.mark.scenario("C16")
async def test_what_is_no_answer_is_unknown(answer: bytes | Talk) -> None:
    """Nothing, half of one, no HTTP, an ambiguous one, too much, compressed, a redirect: sent once, believed never."""
    async with serving(answer) as server, calling(server) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("PUT", "/x", body={})
        assert len(server.requests) == 1
    await server.all_closed()


@pytest.mark.parametrize("answer", [hang, drip])
async def test_a_deadline_ends_the_call_and_its_connection(answer: Talk) -> None:
    """Silence and drops alike; nobody else gets what was left of the answer."""
    async with serving(answer, OK) as server, calling(server) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", deadline=Clock().monotonic() + 0.2)
        await server.all_closed()
        assert (await client.request("POST", "/x")).data == {}


async def test_a_cancelled_call_closes_its_connection() -> None:
    """Nobody else gets the answer of a call that was given up."""
    async with serving(hang, OK) as server, calling(server) as client:
        asking = asyncio.create_task(client.request("POST", "/x"))
        await server.asked(1)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await server.all_closed()
        assert (await client.request("POST", "/x")).data == {}


async def test_no_connection_is_left_when_the_client_closes() -> None:
    """Idle ones and one in use."""
    async with serving(OK, hang) as server:
        async with calling(server) as client:
            await client.request("GET", "/x")
            asking = asyncio.create_task(client.request("GET", "/x"))
            await server.asked(2)
        with pytest.raises(RemoteUnknown):
            await asking
        await server.all_closed()


async def test_no_more_connections_than_allowed() -> None:
    """Calls beyond the limit wait for a connection."""
    most = now = 0

    async def slow(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.02)
        now -= 1
        writer.write(OK)
        await writer.drain()

    async with serving(slow) as server, calling(server, connections=2) as client:
        await asyncio.gather(*(client.request("GET", "/x") for _ in range(6)))
    assert most == 2


async def test_nothing_is_sent_that_could_be_read_as_something_else() -> None:
    """The end of a line in a header ends the call before a byte of it is sent."""
    async with serving(OK) as server, calling(server) as client:
        with pytest.raises(RemoteUnknown):
            await client.request("POST", "/x", key="a\r\nX-Acting-User: admin")
        assert server.requests == []


COOKIE = b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 2\r\n\r\n{}"


async def test_no_cookie_is_kept_by_our_own_calls() -> None:
    """What one answer sets is not carried to the next call."""
    async with serving(COOKIE) as server, calling(server) as client:
        for _ in range(2):
            await client.request("GET", "/x")
    assert len(server.requests) == 2
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_no_cookie_is_kept() -> None:
    """What one answer sets is not carried to the next call."""
    async with serving(COOKIE) as server, OutboundClient(transport=OneTry(connections_max=1)) as http:
        for _ in range(2):
            await http.get(server.url)
        assert not list(http.cookies.jar)
    assert not any(b"cookie" in request.lower() for request in server.requests)


async def test_no_connection_is_an_error_of_httpx() -> None:
    """A port where nobody listens, a host that nobody knows."""
    async with OutboundClient(transport=OneTry(connections_max=1)) as http:
        for url in ("http://127.0.0.1:9/", "http://nobody.invalid/"):
            with pytest.raises(httpx.ConnectError):
                await http.get(url)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A key and a certificate of 127.0.0.1, signed by itself, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = tmp_path / "certificate.pem"
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
    return file


def test_certificates_are_read_only_for_https() -> None:
    """They are trusted where somebody is called by https; otherwise nobody passes, whatever address is called."""
    assert tls_to(["http://a:80", "https://b:443"]).cert_store_stats()["x509_ca"] > 0
    nobody = tls_to(["http://a:80"])
    assert nobody.cert_store_stats()["x509_ca"] == 0
    assert nobody.verify_mode is ssl.CERT_REQUIRED
    assert nobody.check_hostname


async def test_tls_is_verified(certificate: Path) -> None:
    """A certificate that we trust, for that very host; every other one is no connection."""
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(certificate)
    trusting = ssl.create_default_context(cafile=certificate)
    async with serving(OK, tls=own) as server:
        async with OutboundClient(transport=OneTry(connections_max=2, tls=trusting)) as http:
            assert (await http.get(server.url)).content == b"{}"
            with pytest.raises(httpx.ConnectError):
                await http.get(server.url.replace("127.0.0.1", "localhost"))
        async with calling(server) as client:
            with pytest.raises(RemoteUnknown, match="ConnectError"):
                await client.request("GET", "/x")
