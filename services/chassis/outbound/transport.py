"""The connections under the calls to other services: aiohttp's pool, writer and parser, one try (docs/adr/0014).

httpx's own pool polls every idle connection for every request, and aiohttp's sessions do for every request what a
service must not have: second tries, cookies, redirects, proxies. So neither is used. `exchange` is the short way of our
own calls; whoever has an `httpx.AsyncClient` in hand comes the same way.
"""

import asyncio
import ssl
from abc import abstractmethod
from collections.abc import Collection
from functools import partial
from typing import Final

import httpx
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from services.chassis.loading import without_certificates
from services.chassis.outbound.exchange import (
    MAX_ANSWER_BYTES,
    Call,
    Exchange,
    Reply,
    address,
    by_httpx,
    compressed,
    origin,
)

with without_certificates():  # the contexts that aiohttp makes as it is loaded are not the one that we give it
    import aiohttp
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.http import HttpProcessingError, StreamWriter
    from aiohttp.streams import StreamReader

CONNECT_S: Final = 3.0
SILENCE_S: Final = 10.0
KEEP_ALIVE_S: Final = 5.0

_METHODS: Final = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_FRAMING: Final = frozenset({"connection", "content-length", "host", "transfer-encoding"})
_SWITCHING: Final = 101
_CONNECTING: Final = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)


class DirectTransport(httpx.AsyncBaseTransport):
    """A transport with a short way beside httpx's."""

    @abstractmethod
    async def exchange(self, call: Call) -> Reply:
        """Make one call; raise what httpx raises."""


class AllowList(DirectTransport):
    """Lets calls out to known hosts alone, whatever address somebody has talked us into."""

    def __init__(self, inner: httpx.AsyncBaseTransport, origins: Collection[str]) -> None:
        """Take the `origins` (scheme, host and port) of the settings."""
        self._inner = inner
        self._origins = frozenset(origins)
        self._inner_exchange: Exchange = (
            inner.exchange if isinstance(inner, DirectTransport) else partial(by_httpx, inner.handle_async_request)
        )

    async def exchange(self, call: Call) -> Reply:
        self._check(call.address.origin)
        return await self._inner_exchange(call)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self._check(origin(request.url))
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()

    def _check(self, asked: str) -> None:
        if asked not in self._origins:
            raise httpx.UnsupportedProtocol(
                f"{asked} is none of the hosts that we call (outbound_urls of the settings)"
            )


def tls_to(origins: Collection[str]) -> ssl.SSLContext:
    """Return what verifies TLS by the certificates that httpx trusts; if no origin is https, by none: nobody passes.

    Reading the certificates takes as long as connecting to Postgres twice.
    """
    if any(known.startswith("https:") for known in origins):
        return httpx.create_ssl_context(trust_env=False)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class OneTry(DirectTransport):
    """Sends a request once, and tells every failure as httpx does."""

    def __init__(self, *, connections_max: int, tls: ssl.SSLContext | None = None) -> None:
        """Verify TLS by `tls`, or by the certificates that httpx trusts."""
        self._connections_max = connections_max
        self._tls = tls if tls is not None else httpx.create_ssl_context(trust_env=False)
        self._pool: aiohttp.TCPConnector | None = None
        self._pool_keys: dict[str, aiohttp.ClientRequest] = {}

    async def exchange(self, call: Call) -> Reply:
        if call.method not in _METHODS:
            raise httpx.LocalProtocolError(f"{call.method} is not a method that we use")
        try:
            return await self._exchange(call)
        except (aiohttp.ClientError, HttpProcessingError, OSError, ValueError) as error:
            raise _as_httpx_error(error) from error

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        headers = {name: value for name, value in request.headers.items() if name not in _FRAMING}
        body = await request.aread()
        reply = await self.exchange(Call(request.method, address(request.url), headers, body or None))
        if reply.compressed:
            raise httpx.DecodingError("the answer is compressed", request=request)
        if len(reply.body) > MAX_ANSWER_BYTES:
            raise httpx.ReadError("the answer is too large", request=request)
        return httpx.Response(
            reply.status,
            headers=[(name.encode(), value.encode(errors="surrogateescape")) for name, value in reply.headers.items()],
            stream=httpx.ByteStream(reply.body),
            request=request,
        )

    async def aclose(self) -> None:
        if self._pool is not None:
            await self._pool.close()

    async def _exchange(self, call: Call) -> Reply:
        pool_key = self._pool_key(call)
        connection = await self._connections().connect(pool_key, traces=[], timeout=_CONNECTING)
        try:
            protocol = connection.protocol
            if protocol is None or protocol.should_close:  # what it has said would pass for the answer to this call
                raise aiohttp.ServerDisconnectedError("the other side spoke before it was asked")
            protocol.set_response_params(read_until_eof=True, auto_decompress=False, read_timeout=SILENCE_S)
            writer = StreamWriter(protocol, asyncio.get_running_loop())
            await writer.write_headers(f"{call.method} {call.address.target} HTTP/1.1", _head(pool_key, call))
            if call.body:
                await writer.write(call.body, drain=False)  # the answer may come before all of it is taken
            writer.set_eof()
            protocol.start_timeout()
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != _SWITCHING:
                message, content = await protocol.read()
            encoding = _joined(message.headers, "Content-Encoding")
            body = b"" if compressed(encoding) else await _read_some(content)
            if _unfinished(protocol, content):
                connection.close()
        except BaseException:
            connection.close()
            raise
        connection.release()
        return Reply(message.code, message.headers, encoding, _joined(message.headers, "Retry-After"), body)

    def _connections(self) -> aiohttp.TCPConnector:
        """Open the pool, with the first request: it belongs to the running loop."""
        if self._pool is None:
            self._pool = aiohttp.TCPConnector(
                limit=self._connections_max, keepalive_timeout=KEEP_ALIVE_S, ssl=self._tls
            )
        return self._pool

    def _pool_key(self, call: Call) -> aiohttp.ClientRequest:
        """Return what the pool knows an origin by: a request that is never sent."""
        where = call.address.origin
        pool_key = self._pool_keys.get(where)
        if pool_key is None:
            url = URL(call.address.url).origin()
            if url.scheme not in {"http", "https"}:
                raise httpx.UnsupportedProtocol(f"{url.scheme} is not a protocol that we use")
            pool_key = self._pool_keys[where] = aiohttp.ClientRequest("GET", url, loop=asyncio.get_running_loop())
        return pool_key


def _head(pool_key: aiohttp.ClientRequest, call: Call) -> CIMultiDict[str]:
    """Return all headers; the writer refuses a value that would end its line."""
    if not "".join(call.headers.values()).isascii():
        raise ValueError("a header is not ASCII")
    head = CIMultiDict(Host=pool_key.headers["Host"])
    head.update(call.headers)
    if call.body or call.method != "GET":
        head["Content-Length"] = str(len(call.body or b""))
    return head


async def _read_some(content: StreamReader) -> bytes:
    """Read all of an answer, or not much more of it than we take."""
    body = await content.readany()
    if content.at_eof():
        return body
    chunks = [body]
    size = len(body)
    while size <= MAX_ANSWER_BYTES and (chunk := await content.readany()):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _unfinished(protocol: ResponseHandler, content: StreamReader) -> bool:
    """Say whether the next call on this connection would meet the rest of this one, of either side."""
    transport = protocol.transport
    return not content.at_eof() or (transport is not None and transport.get_write_buffer_size() > 0)


def _joined(headers: CIMultiDictProxy[str], name: str) -> str | None:
    values = headers.getall(name, None)
    return None if values is None else ", ".join(values)


def _as_httpx_error(error: Exception) -> httpx.TransportError:
    """Return httpx's word for what aiohttp's connections suffer."""
    match error:
        case aiohttp.ServerTimeoutError():
            return httpx.ReadTimeout("nothing came for too long")
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(error))
        case TimeoutError():
            return httpx.ConnectTimeout("no connection came about in time")
        case HttpProcessingError():
            return httpx.RemoteProtocolError("no HTTP")
        case ValueError():  # the end of a line in a header, and the like
            return httpx.LocalProtocolError("this request cannot be sent")
        case _:
            return httpx.ReadError("the connection ended before the answer came")


class NoCookies(httpx.Cookies):
    """Keeps nothing: calls know nothing of each other."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class OutboundClient(httpx.AsyncClient):
    """A client with no cookies, no redirects, no proxies, and the short way for our own calls."""

    def __init__(self, *, transport: DirectTransport) -> None:
        super().__init__(transport=transport, follow_redirects=False, trust_env=False)
        self._direct = transport

    async def exchange(self, call: Call) -> Reply:
        """Make one call; raise what httpx raises."""
        if self.is_closed:
            raise RuntimeError("the client is closed")
        return await self._direct.exchange(call)

    @property
    def cookies(self) -> httpx.Cookies:
        return NoCookies()

    @cookies.setter
    def cookies(self, _cookies: object) -> None:
        """Keep none."""


def exchange_by(http: httpx.AsyncClient) -> Exchange:
    """Return the shortest way that a client has to make a call."""
    if isinstance(http, OutboundClient):
        return http.exchange
    return partial(by_httpx, partial(http.send, stream=True, follow_redirects=False))
