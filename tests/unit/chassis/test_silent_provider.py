"""An identity provider that does not answer: who waits for it, and who need not."""

import asyncio

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from services.chassis.errors import Unavailable
from tests.support.clock import ManualClock
from tests.unit.chassis.test_auth import Provider, claims, with_keys


async def test_who_waits_for_a_silent_provider_waits_once(
    clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """Requests that come while the provider is asked share its silence, instead of asking it one after another."""
    provider = Provider()
    provider.up = False
    provider.answers.clear()
    key = ec.generate_private_key(ec.SECP256R1())
    token = jwt.encode(claims(clock), key, algorithm="ES256", headers={"kid": "e"})
    async with with_keys(provider, clock) as reading:
        asking = [asyncio.create_task(reading.principal(token, None)) for _ in range(5)]
        while not provider.asked:
            await asyncio.sleep(0)
        provider.answers.set()
        told = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(error) for error in told] == [Unavailable] * 5
    assert provider.asked == 1
    assert "auth.keys_unavailable" in capsys.readouterr().out


async def test_known_keys_are_not_held_up_by_a_silent_provider(clock: ManualClock) -> None:
    """While one request asks for newer keys, the others are let in by those that are known."""
    provider = Provider()
    key = ec.generate_private_key(ec.SECP256R1())
    provider.publish("e", key.public_key())
    async with with_keys(provider, clock) as reading:
        for number in range(2):
            token = jwt.encode(claims(clock, sub=f"u{number}"), key, algorithm="ES256", headers={"kid": "e"})
            assert (await reading.principal(token, None)).subject == f"u{number}"
        clock.advance(700)
        provider.answers.clear()
        later = claims(clock, exp=99_999_999_999)
        asker, other = (
            jwt.encode(later | {"sub": sub}, key, algorithm="ES256", headers={"kid": "e"}) for sub in ("a", "b")
        )
        asking = asyncio.create_task(reading.principal(asker, None))
        while provider.asked < 2:
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            assert (await reading.principal(other, None)).subject == "b"
        provider.answers.set()
        assert (await asking).subject == "a"
