"""The public keys of an identity provider (JWKS), fetched when needed and kept for a while."""

import asyncio
from typing import Any, Final

import httpx
import jwt

from services.chassis.clock import Clock
from services.chassis.errors import Unauthenticated, Unavailable
from services.chassis.logs import get_logger

_KEPT_S: Final = 600.0
_ASK_AGAIN_S: Final = 10.0
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 262_144
_MIN_RSA_BITS: Final = 2_048
ALGORITHMS: Final = frozenset({"RS256", "ES256"})
_AWAY: Final = "The identity provider does not answer."
_AS_IT_IS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class KeySet:
    """The signing keys at a URL, by `kid`; an unknown `kid` leads to a new look, every ten seconds at most."""

    def __init__(self, url: str, *, http: httpx.AsyncClient, clock: Clock) -> None:
        self._url = url
        self._http = http
        self._clock = clock
        self._keys: dict[str, Any] = {}
        self._fetched_at = float("-inf")
        self._asked_at = float("-inf")
        self._outages = 0
        self._lock = asyncio.Lock()
        self._log = get_logger("chassis.auth")

    async def key(self, kid: Any) -> Any:
        """Return the key; Unauthenticated if there is none, Unavailable if the provider does not answer."""
        if not isinstance(kid, str):
            raise Unauthenticated("The token names no key.")
        if self._must_look(kid):
            outages = self._outages
            async with self._lock:
                if self._outages != outages:  # whoever asked meanwhile has waited for us too
                    raise Unavailable(_AWAY)
                await self._refresh(kid)
        if kid not in self._keys:
            raise Unauthenticated("The token's key is not known.")
        return self._keys[kid]

    def _must_look(self, kid: str) -> bool:
        """Whether to ask, or wait for who does; a key that is known need not wait for newer ones."""
        return kid not in self._keys or not (self._fresh() or self._lock.locked())

    def _fresh(self) -> bool:
        return self._clock.monotonic() - self._fetched_at < _KEPT_S

    async def _refresh(self, kid: str) -> None:
        if (self._fresh() and kid in self._keys) or self._clock.monotonic() - self._asked_at < _ASK_AGAIN_S:
            return
        self._asked_at = self._clock.monotonic()
        try:
            found = jwt.PyJWKSet.from_json(await self._fetch())
        except (httpx.HTTPError, TimeoutError, jwt.PyJWTError, ValueError, TypeError, AttributeError) as error:
            self._log.warning("auth.keys_unavailable", error=type(error).__name__)
            if not self._keys:
                self._asked_at = float("-inf")
                self._outages += 1
                raise Unavailable(_AWAY) from None
            return
        self._keys = {key.key_id: key.key for key in found.keys if key.key_id is not None and _verifies(key)}
        self._fetched_at = self._clock.monotonic()

    async def _fetch(self) -> str:
        """Read the document, within a bound of time and size."""
        async with (
            asyncio.timeout(_TIMEOUT_S),
            self._http.stream("GET", self._url, follow_redirects=False, headers=_AS_IT_IS) as answer,
        ):
            if answer.status_code != 200 or "Content-Encoding" in answer.headers:
                raise ValueError(f"answered {answer.status_code}, or compressed")
            raw = b""
            async for chunk in answer.aiter_bytes():
                raw += chunk
                if len(raw) > _MAX_BYTES:
                    raise ValueError("the answer is too large")
            return raw.decode()


def _verifies(key: jwt.PyJWK) -> bool:
    """Whether a key is for signatures, by an algorithm that we take, and long enough for it (RFC 7518, 3.3)."""
    if key.public_key_use not in {None, "sig"} or key.algorithm_name not in ALGORITHMS:
        return False
    return key.key_type != "RSA" or key.key.key_size >= _MIN_RSA_BITS
