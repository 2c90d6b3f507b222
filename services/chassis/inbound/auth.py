"""Authentication: users by JWT (a shared secret or a key set), services by short tokens; and who may call a route.

A user's key never grants the scope `service`, and `X-Acting-User` is believed from a service only.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, Literal

import jwt
from cachetools import TTLCache
from fastapi import Depends, Request, Security
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from jwt.types import Options

from services.chassis import logs
from services.chassis.clock import Clock
from services.chassis.errors import Forbidden, Malformed, NotFound, Unauthenticated
from services.chassis.inbound.limits import Limits, vouch
from services.chassis.outbound.exchange import ACTING_USER, is_user_id
from services.chassis.postgres.texts import storable
from services.chassis.security.jwks import ALGORITHMS, KeySet
from services.chassis.security.tokens import (
    ISSUER,
    SERVICE_SCOPE,
    SERVICE_TOKEN_LIFE_S,
    USER_AUDIENCE,
    service_audience,
)

_LEEWAY_S: Final = 5
_MAX_TOKEN_CHARS: Final = 8_192
_ONCE: Final = ("Authorization", ACTING_USER)
"""Of two, a proxy may have looked at the other one."""
_VERIFIED_S: Final = 60.0
_VERIFIED_MAX: Final = 1_000
_GUARDS: set[Callable[..., object]] = set()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, as what, and on behalf of whom (`acting_user`: a service's word)."""

    subject: str
    scopes: frozenset[str]
    kind: Literal["user", "service"]
    acting_user: str | None = None

    @property
    def caller(self) -> str:
        """The name under which idempotency keys are kept, and that an audit row tells."""
        return f"{self.kind}:{self.subject}"


@dataclass(frozen=True, slots=True)
class VerifiedToken:
    """Whom a token's signature has proven, and when it holds: instants in seconds since 1970."""

    principal: Principal
    begins_at: float
    expires_at: float

    def holds_at(self, now: float) -> bool:
        return self.begins_at <= now < self.expires_at


class Authenticator:
    """Reads the bearer token of a request to the service `name`."""

    def __init__(
        self,
        *,
        name: str,
        clock: Clock,
        user_secret: str | None,
        service_secret: str,
        key_set: KeySet | None = None,
    ) -> None:
        self._audience = service_audience(name)
        self._clock = clock
        self._user_secret = user_secret
        self._service_secret = service_secret
        self._key_set = key_set
        self._verified: TTLCache[str, VerifiedToken] = TTLCache(_VERIFIED_MAX, _VERIFIED_S, timer=clock.monotonic)

    async def principal(self, token: str, acting_user: str | None) -> Principal:
        """Return who this is; Unauthenticated for any token that does not hold now.

        What a signature has proven is remembered for a minute, the times are looked at for every request.
        """
        if len(token) > _MAX_TOKEN_CHARS or not token.isascii():
            raise Unauthenticated
        verified = self._verified.get(token)
        if verified is None:
            try:
                verified = await self._verify(token)
            except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
                raise Unauthenticated("The token is not accepted.") from None
            self._verified[token] = verified
        if not verified.holds_at(self._clock.now().timestamp()):
            raise Unauthenticated("The token is not valid at this time.")
        if verified.principal.kind == "user" or acting_user is None:
            return verified.principal
        if not is_user_id(acting_user):
            raise Malformed(f"{ACTING_USER} is not a user id.")
        return replace(verified.principal, acting_user=acting_user)

    async def _verify(self, token: str) -> VerifiedToken:
        header = jwt.get_unverified_header(token)
        claimed = jwt.decode(token, options={"verify_signature": False})
        if claimed.get("aud") == self._audience:
            return self._verify_service(token)
        return await self._verify_user(token, header)

    async def _verify_user(self, token: str, header: Mapping[str, Any]) -> VerifiedToken:
        if header.get("alg") == "HS256" and self._user_secret is not None:
            claims = _claims(token, self._user_secret, ["HS256"], USER_AUDIENCE, issuer=ISSUER)
        elif header.get("alg") in ALGORITHMS and self._key_set is not None:
            key = await self._key_set.key(header.get("kid"))
            claims = _claims(token, key, [header["alg"]], USER_AUDIENCE, issuer=ISSUER)
        else:
            raise Unauthenticated("The token is not accepted.")
        return _verified(claims, Principal(_subject(claims), _scopes(claims) - {SERVICE_SCOPE}, "user"))

    def _verify_service(self, token: str) -> VerifiedToken:
        claims = _claims(token, self._service_secret, ["HS256"], self._audience, issuer=None)
        issued_at, expires_at = _instant(claims, "iat"), _instant(claims, "exp")
        if expires_at - issued_at > SERVICE_TOKEN_LIFE_S or SERVICE_SCOPE not in _scopes(claims):
            raise Unauthenticated("The token is not accepted.")
        return _verified(claims, Principal(_subject(claims), frozenset({SERVICE_SCOPE}), "service"))


def _claims(token: str, key: Any, algorithms: list[str], audience: str, *, issuer: str | None) -> dict[str, Any]:
    """Verify the signature and every claim but the times, which are for our clock and not for the machine's."""
    options: Options = {
        "require": ["exp", "sub", "aud"],
        "verify_exp": False,
        "verify_nbf": False,
        "verify_iat": False,
    }
    return jwt.decode(token, key, algorithms=algorithms, audience=audience, issuer=issuer, options=options)


def _verified(claims: Mapping[str, Any], principal: Principal) -> VerifiedToken:
    begins = [_instant(claims, name) for name in ("nbf", "iat") if name in claims]
    return VerifiedToken(principal, max(begins, default=-math.inf) - _LEEWAY_S, _instant(claims, "exp"))


def _instant(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Unauthenticated("The token is not accepted.")
    return float(value)


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255 or not storable(subject):
        raise Unauthenticated("The token is not accepted.")
    return subject


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    scope = claims.get("scope", "")
    return frozenset(scope.split()) if isinstance(scope, str) else frozenset()


bearer: Final = HTTPBearer(
    auto_error=False,
    bearerFormat="JWT",
    description=(
        "`make token ARGS='--sub alice --scope customer'` prints a customer's,"
        " `make token ARGS='--sub admin --scope admin'` an administrator's."
    ),
)


async def current_principal(request: Request, credentials: HTTPAuthorizationCredentials | None) -> Principal:
    """Return who calls; read once per request.

    No dependency of FastAPI's: what several of a route's dependencies ask for is solved anew for each of them, with
    all below it.
    """
    known: Principal | None = getattr(request.state, "principal", None)
    if known is not None:
        return known
    chassis = request.app.state.chassis
    authenticator: Authenticator = chassis.authenticator
    limits: Limits = chassis.limits
    if any(len(request.headers.getlist(name)) > 1 for name in _ONCE):
        raise Malformed(f"{' and '.join(_ONCE)} are given once, or not at all.")
    if credentials is None:
        raise Unauthenticated
    try:
        principal = await authenticator.principal(credentials.credentials, request.headers.get(ACTING_USER))
    except Unauthenticated:
        check_address(request)
        raise
    vouch(request.scope)
    request.state.principal = principal
    if principal.kind == "user":
        limits.charge_user(principal.subject)
    user_id = principal.subject if principal.kind == "user" else principal.acting_user
    if user_id is not None:
        logs.bind(user_id=user_id)
    return principal


def check_address(request: Request) -> None:
    """Refuse what proves nothing from an address that has nothing left."""
    limits: Limits = request.app.state.chassis.limits
    limits.check_address(getattr(request.state, "address", ""))


async def require_proof(request: Request) -> None:
    """Refuse a request from an address that has nothing left, unless it comes with a token that holds."""
    try:
        await current_principal(request, await bearer(request))
    except Unauthenticated:
        check_address(request)


def authenticated(*any_of_scopes: str) -> Callable[..., Awaitable[Principal]]:
    """Return a dependency, for `Depends`: a Principal with one of these scopes, or 401 or 403.

    The scopes stand in the route's OpenAPI too, as roles of which one is enough.
    """
    wanted = frozenset(any_of_scopes)

    async def principal_with_scope(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(bearer, scopes=sorted(wanted))],
    ) -> Principal:
        principal = await current_principal(request, credentials)
        if not principal.scopes & wanted:
            raise Forbidden
        return principal

    _GUARDS.add(principal_with_scope)
    return principal_with_scope


def is_guarded(taker: Dependant) -> bool:
    """Say whether a route, or what it depends on, is for those alone who show a token that holds."""
    return taker.call in _GUARDS or any(is_guarded(dependency) for dependency in taker.dependencies)


async def owner(
    request: Request,
    principal: Annotated[Principal, Depends(authenticated("customer"))],
) -> Principal:
    """Return the customer whose `{user_id}` this is, for `Depends`; to others there is no such thing."""
    if request.path_params.get("user_id") != principal.subject:
        raise NotFound
    return principal


Customer = Annotated[Principal, Depends(owner)]
"""The customer whose `{user_id}` the path names."""
Admin = Annotated[Principal, Depends(authenticated("admin"))]
Service = Annotated[Principal, Depends(authenticated("service"))]
AdminOrService = Annotated[Principal, Depends(authenticated("admin", "service"))]
