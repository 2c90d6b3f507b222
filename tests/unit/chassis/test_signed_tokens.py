"""Signed tokens give back what was signed, and nothing else is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import NotFound
from services.chassis.security.signed_tokens import read_token, sign_token


@given(st.binary(max_size=100))
def test_a_token_gives_its_payload_back(payload: bytes) -> None:
    """The same payload gives the same url-safe token, which any current secret reads."""
    token = sign_token(["first", "second"], payload)
    assert token == sign_token(["first"], payload)
    assert token.isascii()
    assert read_token(["second", "first"], token) == payload
    with pytest.raises(NotFound):
        read_token(["second"], token)


@given(st.data())
def test_a_changed_token_is_unknown(data: st.DataObject) -> None:
    """No other text, however close, is read: not even another spelling of the same bytes."""
    token = sign_token(["secret"], b"saga and promise")
    position = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("ABCDabcd0189-_=%é"))
    changed = token[:position] + character + token[position + 1 :]
    if changed != token:
        with pytest.raises(NotFound):
            read_token(["secret"], changed)


@pytest.mark.parametrize("token", ["", "=", "A", "é", "a" * 5_000, "AAAA", "\0"])
def test_what_is_no_token_is_unknown(token: str) -> None:
    """Garbage is NotFound, never another exception."""
    with pytest.raises(NotFound):
        read_token(["secret"], token)
