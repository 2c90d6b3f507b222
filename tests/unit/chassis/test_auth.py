"""Who is let in: users by the shared secret or a key set, services by short tokens; everyone else is told apart."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.chassis.errors import Malformed, Unauthenticated, Unavailable
from services.chassis.inbound.auth import Authenticator
from services.chassis.security.jwks import KeySet
from services.chassis.security.tokens import ServiceTokens, mint_token, mint_user_token
from tests.support.clock import ManualClock

USERS = "secret-of-users-" * 3
SERVICES = "secret-of-services-" * 3


def authenticator(clock: ManualClock, **given: Any) -> Authenticator:
    return Authenticator(name="session", clock=clock, user_secret=USERS, service_secret=SERVICES, **given)


def claims(clock: ManualClock, **changed: Any) -> dict[str, Any]:
    now = int(clock.now().timestamp())
    document = {
        "iss": "order-saga",
        "aud": "order-saga",
        "sub": "alice",
        "scope": "customer",
        "iat": now,
        "exp": now + 60,
    } | changed
    return {name: value for name, value in document.items() if value is not None}


async def test_a_users_token_is_read(clock: ManualClock) -> None:
    """Subject and scopes come from the token; an acting user is not believed from a user."""
    token = mint_user_token(USERS, sub="alice", scope="customer admin", clock=clock)
    principal = await authenticator(clock).principal(token, "mallory")
    assert (principal.subject, principal.kind) == ("alice", "user")
    assert principal.scopes == {"customer", "admin"}
    assert principal.acting_user is None
    assert principal.caller == "user:alice"


async def test_a_users_key_never_grants_service(clock: ManualClock) -> None:
    """A user's token that claims the scope `service` does not get it."""
    token = mint_user_token(USERS, sub="alice", scope="customer service", clock=clock)
    assert (await authenticator(clock).principal(token, None)).scopes == {"customer"}


async def test_a_services_token_is_read(clock: ManualClock) -> None:
    """A token for this service names the caller, and its word on the acting user is taken."""
    tokens = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock)
    principal = await authenticator(clock).principal(tokens.mint("session"), "alice")
    assert (principal.subject, principal.kind) == ("orchestrator", "service")
    assert principal.scopes == {"service"}
    assert principal.acting_user == "alice"
    with pytest.raises(Malformed):
        await authenticator(clock).principal(tokens.mint("session"), "al ice")


async def test_minted_tokens_are_cached_and_renewed(clock: ManualClock) -> None:
    """A cached token is given out while half of its life is left, per service."""
    tokens = ServiceTokens(secret=SERVICES, issuer="orchestrator", clock=clock)
    first = tokens.mint("session")
    clock.advance(29)
    assert tokens.mint("session") == first
    assert tokens.mint("shipping") != first
    clock.advance(2)
    assert tokens.mint("session") != first
    await authenticator(clock).principal(tokens.mint("session"), None)


@pytest.mark.parametrize(
    "changed",
    [
        {"exp": None},
        {"sub": None},
        {"aud": None},
        {"aud": "another"},
        {"aud": "order-saga/shipping"},
        {"iss": "another"},
        {"iss": None},
        {"exp": 1},
        {"exp": float("nan")},
        {"exp": "9999999999"},
        {"exp": True},
        {"exp": 10**400},
        {"nbf": 99_999_999_999},
        {"iat": 99_999_999_999},
        {"sub": 7},
        {"sub": ""},
        {"sub": "a\0b"},
        {"sub": "x" * 300},
    ],
)
async def test_a_users_token_with_a_bad_claim_is_refused(clock: ManualClock, changed: dict[str, Any]) -> None:
    """Every claim that is required is checked, by our clock, and never with another exception."""
    token = jwt.api_jws.encode(json.dumps(claims(clock, **changed)).encode(), USERS, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        await authenticator(clock).principal(token, None)


async def test_tokens_end_by_our_clock(clock: ManualClock) -> None:
    """A token holds until its `exp` of our clock, and not longer, also where its signature is remembered."""
    token = mint_user_token(USERS, sub="alice", scope="customer", clock=clock, life_s=60)
    clock.advance(59)
    remembering = authenticator(clock)
    await remembering.principal(token, None)
    clock.advance(1)
    for reader in (remembering, authenticator(clock)):
        for _ in range(2):
            with pytest.raises(Unauthenticated):
                await reader.principal(token, None)


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "é.é.é", "e30.e30.", "." * 9_000, "eyJhbGciOiJub25lIn0.e30."])
async def test_what_is_no_token_is_refused(clock: ManualClock, token: str) -> None:
    """Garbage and unsigned tokens are Unauthenticated."""
    with pytest.raises(Unauthenticated):
        await authenticator(clock).principal(token, None)


@pytest.mark.parametrize(
    ("secret", "algorithm"), [("another-secret-" * 3, "HS256"), (USERS * 2, "HS512"), ("", "none"), (SERVICES, "HS256")]
)
async def test_another_key_or_algorithm_is_refused(clock: ManualClock, secret: str, algorithm: str) -> None:
    """Only HS256 by the users' secret makes a user."""
    key: Any = secret or None
    token = jwt.encode(claims(clock), key, algorithm=algorithm)
    with pytest.raises(Unauthenticated):
        await authenticator(clock).principal(token, None)


@pytest.mark.parametrize(
    ("secret", "audience", "scope", "life_s"),
    [
        (USERS, "order-saga/session", "service", 60),
        (SERVICES, "order-saga/shipping", "service", 60),
        (SERVICES, "order-saga/session", "service", 61),
        (SERVICES, "order-saga/session", "admin", 60),
        (SERVICES, "order-saga", "service", 60),
    ],
)
@pytest.mark.scenario("SEC-b")
async def test_a_doubtful_service_token_is_refused(
    clock: ManualClock, secret: str, audience: str, scope: str, life_s: int
) -> None:
    """Another key, another audience, a long life or no service scope: no service."""
    token = mint_token(
        secret,
        subject="orchestrator",
        scope=scope,
        audience=audience,
        issuer="orchestrator",
        now=clock.now().timestamp(),
        life_s=life_s,
    )
    with pytest.raises(Unauthenticated):
        await authenticator(clock).principal(token, None)


class Provider:
    """An identity provider that publishes keys."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.asked = 0
        self.up = True
        self.answers = asyncio.Event()
        self.answers.set()

    async def __call__(self, _request: httpx.Request) -> httpx.Response:
        self.asked += 1
        await self.answers.wait()
        return httpx.Response(200, json={"keys": self.keys}) if self.up else httpx.Response(503)

    def publish(self, kid: str, public_key: Any, **more: Any) -> None:
        algorithm: Any = jwt.algorithms.RSAAlgorithm if isinstance(public_key, rsa.RSAPublicKey) else None
        algorithm = algorithm or jwt.algorithms.ECAlgorithm
        self.keys.append(json.loads(algorithm.to_jwk(public_key)) | {"kid": kid, "use": "sig"} | more)


@asynccontextmanager
async def with_keys(provider: Provider, clock: ManualClock) -> AsyncIterator[Authenticator]:
    async with httpx.AsyncClient(transport=httpx.MockTransport(provider)) as http:
        yield authenticator(clock, key_set=KeySet("https://id.example/keys", http=http, clock=clock))


async def test_tokens_of_a_key_set_are_read(clock: ManualClock) -> None:
    """RS256 and ES256 tokens hold by the published key that they name; it is asked for once."""
    provider = Provider()
    rsa_key, ec_key = rsa.generate_private_key(65_537, 2048), ec.generate_private_key(ec.SECP256R1())
    provider.publish("r", rsa_key.public_key())
    provider.publish("e", ec_key.public_key())
    async with with_keys(provider, clock) as reading:
        for key, algorithm, kid in ((rsa_key, "RS256", "r"), (ec_key, "ES256", "e")):
            token = jwt.encode(claims(clock), key, algorithm=algorithm, headers={"kid": kid})
            assert (await reading.principal(token, None)).subject == "alice"
        assert provider.asked == 1
        forged = jwt.encode(claims(clock), ec_key, algorithm="ES256", headers={"kid": "r"})
        for token in (forged, jwt.encode(claims(clock), ec_key, algorithm="ES256")):
            with pytest.raises(Unauthenticated):
                await reading.principal(token, None)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")  # the short key signs, here
async def test_a_published_key_is_used_for_what_it_is_meant(clock: ManualClock) -> None:
    """One for encryption, for another algorithm, or with fewer bits than RS256 asks for, verifies no token."""
    provider = Provider()
    key, short = rsa.generate_private_key(65_537, 2048), rsa.generate_private_key(65_537, 1024)
    for kid, more in (("enc", {"use": "enc"}), ("other", {"alg": "PS256"}), ("good", {"alg": "RS256"})):
        provider.publish(kid, key.public_key(), **more)
    provider.publish("short", short.public_key())
    async with with_keys(provider, clock) as reading:
        for kid, signing in (("enc", key), ("other", key), ("short", short)):
            token = jwt.encode(claims(clock), signing, algorithm="RS256", headers={"kid": kid})
            with pytest.raises(Unauthenticated):
                await reading.principal(token, None)
        token = jwt.encode(claims(clock), key, algorithm="RS256", headers={"kid": "good"})
        assert (await reading.principal(token, None)).subject == "alice"


async def test_unknown_keys_do_not_storm_the_provider(clock: ManualClock) -> None:
    """An unknown key is looked for once in ten seconds; a new one is found then."""
    provider = Provider()
    key = ec.generate_private_key(ec.SECP256R1())
    provider.publish("old", ec.generate_private_key(ec.SECP256R1()).public_key())
    token = jwt.encode(claims(clock), key, algorithm="ES256", headers={"kid": "new"})
    async with with_keys(provider, clock) as reading:
        for _ in range(5):
            with pytest.raises(Unauthenticated):
                await reading.principal(token, None)
        assert provider.asked == 1
        provider.publish("new", key.public_key())
        clock.advance(11)
        await reading.principal(token, None)


async def test_a_silent_provider_is_unavailable_until_keys_are_known(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without any key the answer is 503, never "let in"; known keys live on through an outage."""
    provider = Provider()
    provider.up = False
    key = ec.generate_private_key(ec.SECP256R1())
    provider.publish("e", key.public_key())
    async with with_keys(provider, clock) as reading:
        token = jwt.encode(claims(clock, exp=99_999_999_999), key, algorithm="ES256", headers={"kid": "e"})
        with pytest.raises(Unavailable):
            await reading.principal(token, None)
        provider.up = True
        await reading.principal(token, None)
        provider.up = False
        clock.advance(700)
        await reading.principal(token, None)
    assert "auth.keys_unavailable" in capsys.readouterr().out


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, content=b"{" + b" " * 300_000),
        httpx.Response(200, headers={"Content-Encoding": "gzip"}, content=b""),
        httpx.Response(302, headers={"Location": "http://169.254.169.254/"}),
        httpx.Response(200, content=b"\xff"),
        httpx.Response(200, content=b"[]"),
    ],
    ids=["large", "compressed", "redirect", "not text", "not keys"],
)
async def test_a_doubtful_key_set_is_not_believed(
    clock: ManualClock, capsys: pytest.CaptureFixture[str], answer: httpx.Response
) -> None:
    """A key set that is too large, compressed, elsewhere or no key set is no key set."""
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(claims(clock), key, algorithm="ES256", headers={"kid": "e"})
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: answer)) as http:
        reading = authenticator(clock, key_set=KeySet("https://id.example/keys", http=http, clock=clock))
        with pytest.raises(Unavailable):
            await reading.principal(token, None)
    assert "auth.keys_unavailable" in capsys.readouterr().out
