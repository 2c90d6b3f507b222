"""The tokens that services call each other with, and those of users in development; `auth` verifies them.

Apart from `auth`, so that who only calls does not load FastAPI.
"""

import math
from typing import Final

import jwt

from services.chassis.clock import Clock

USER_AUDIENCE: Final = "order-saga"
ISSUER: Final = "order-saga"
SERVICE_SCOPE: Final = "service"
SERVICE_TOKEN_LIFE_S: Final = 60
SERVICE_TOKEN_CACHED_S: Final = 30


def service_audience(service: str) -> str:
    return f"order-saga/{service}"


class ServiceTokens:
    """Makes the tokens with which `issuer` calls other services."""

    def __init__(self, *, secret: str, issuer: str, clock: Clock) -> None:
        self._secret = secret
        self._issuer = issuer
        self._clock = clock
        self._cached: dict[tuple[str, str], tuple[float, str]] = {}

    def mint(self, audience_service: str, scope: str = SERVICE_SCOPE) -> str:
        """Return a token for one service that holds for at least half of its life from now on."""
        now = self._clock.now().timestamp()
        made_at, token = self._cached.get((audience_service, scope), (-math.inf, ""))
        if not 0 <= now - made_at < SERVICE_TOKEN_CACHED_S:
            token = mint_token(
                self._secret,
                subject=self._issuer,
                scope=scope,
                audience=service_audience(audience_service),
                issuer=self._issuer,
                now=now,
                life_s=SERVICE_TOKEN_LIFE_S,
            )
            self._cached[audience_service, scope] = (now, token)
        return token


def mint_user_token(secret: str, *, sub: str, scope: str, clock: Clock, life_s: float = 3_600) -> str:
    """Return a user's token, as the stack of development hands out."""
    return mint_token(
        secret,
        subject=sub,
        scope=scope,
        audience=USER_AUDIENCE,
        issuer=ISSUER,
        now=clock.now().timestamp(),
        life_s=life_s,
    )


def mint_token(
    secret: str,
    *,
    subject: str,
    scope: str,
    audience: str,
    issuer: str,
    now: float,
    life_s: float,
) -> str:
    """Sign a token of HS256; instants in seconds since 1970."""
    issued_at = math.floor(now)
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": subject,
        "scope": scope,
        "iat": issued_at,
        "exp": issued_at + math.floor(life_s),
    }
    return jwt.encode(claims, secret, algorithm="HS256")
