"""The connections under the calls to other services: httpx's surface over aiohttp's pool (docs/adr/0014).

httpx's own pool polls every idle connection for every request. What aiohttp would do by itself and we do not want is
turned off here: a second try, cookies, redirects, and errors that httpx's callers do not know.
"""

import ssl
from collections.abc import Collection

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

KEEP_ALIVE_S = 5.0
_NOT_ADDED = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class AllowList(httpx.AsyncBaseTransport):
    """Lets calls out to known hosts alone, whatever address somebody has talked us into."""

    def __init__(self, inner: httpx.AsyncBaseTransport, origins: Collection[str]) -> None:
        """Take the `origins` (scheme, host and port) of the settings."""
        self._inner = inner
        self._origins = frozenset(origins)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if origin(request.url) not in self._origins:
            raise httpx.UnsupportedProtocol(f"{request.url.host} is not a host that we call", request=request)
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


def origin(url: httpx.URL | str) -> str:
    """Return what an address is reached at: scheme, host and port."""
    if isinstance(url, str):
        url = httpx.URL(url)
    port = url.port or {"http": 80, "https": 443}.get(url.scheme, 0)
    return f"{url.scheme}://{url.host}:{port}"


class OneTry(AiohttpTransport):
    """Sends a request once, and tells every failure as httpx does."""

    def __init__(self, *, connections_max: int, tls: ssl.SSLContext | None = None) -> None:
        """Verify TLS by `tls`, or by the certificates that httpx trusts."""
        self._connections_max = connections_max
        super().__init__(
            verify=tls if tls is not None else httpx.create_ssl_context(trust_env=False),
            trust_env=False,
            client=self._session,
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.ConnectTimeout as error:  # what httpx-aiohttp calls everything that a connection suffers
            told = _told(error.__cause__, error)
            if told is error:
                raise
            raise told from error
        except aiohttp.ClientError as error:
            raise httpx.RemoteProtocolError(f"no HTTP ({type(error).__name__})", request=request) from error
        except ValueError as error:  # the end of a line in a header, and the like
            raise httpx.LocalProtocolError("this request cannot be sent", request=request) from error

    def _session(self) -> aiohttp.ClientSession:
        """Open the pool, with the first request: it belongs to the running loop."""
        connector = aiohttp.TCPConnector(
            limit=self._connections_max, keepalive_timeout=KEEP_ALIVE_S, ssl=self.ssl_context
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=_NOT_ADDED,
            trust_env=False,
        )
        session._retry_connection = False  # noqa: SLF001  # no other way to forbid it; a test watches that it holds
        return session


def _told(cause: BaseException | None, error: httpx.ConnectTimeout) -> httpx.TransportError:
    if isinstance(cause, aiohttp.ConnectionTimeoutError):
        return error
    if isinstance(cause, aiohttp.ClientConnectorError):
        return httpx.ConnectError(str(cause))
    return httpx.ReadError("the connection ended before the answer came")


class NoCookies(httpx.Cookies):
    """Keeps nothing: calls know nothing of each other."""

    def extract_cookies(self, response: httpx.Response) -> None:
        pass


class OutboundClient(httpx.AsyncClient):
    """A client without cookies; httpx looks for them in every answer, at a price."""

    @property
    def cookies(self) -> httpx.Cookies:
        return NoCookies()

    @cookies.setter
    def cookies(self, _cookies: object) -> None:
        """Keep none."""
