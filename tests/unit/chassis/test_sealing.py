"""What is stored sealed: opened by any key of the list, by nothing else, and never twice the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import Unsealable
from services.chassis.security.sealing import Sealer, is_sealed

OLD, NEW, OTHER = "old-key-" * 5, "new-key-" * 5, "other-key-" * 5


@given(st.text())
def test_what_is_sealed_can_be_opened(text: str) -> None:
    """A text comes back as it was; sealed, it shows nothing of itself and differs each time."""
    sealer = Sealer([OLD])
    sealed, again = sealer.seal(text), sealer.seal(text)
    assert is_sealed(sealed)
    assert sealed != again
    assert len(text) < 8 or text not in sealed
    assert sealer.open(sealed) == sealer.open(again) == text


def test_keys_rotate() -> None:
    """The first key seals, all open; once a key is gone, what it sealed is gone with it."""
    before = Sealer([OLD]).seal("secret")
    during = Sealer([NEW, OLD])
    assert during.open(before) == "secret"
    assert not during.is_newest(before)
    after = during.seal("secret")
    assert during.is_newest(after)
    assert Sealer([NEW]).open(after) == "secret"
    for sealer in (Sealer([NEW]), Sealer([OTHER])):
        with pytest.raises(Unsealable):
            sealer.open(before)


@given(st.data())
def test_a_changed_text_is_not_opened(data: st.DataObject) -> None:
    """No character of it can be changed, and no part be left out."""
    sealer = Sealer([NEW, OLD])
    sealed = sealer.seal("secret")
    position = data.draw(st.integers(0, len(sealed) - 1))
    # What is drawn must not hang on the sealed text, which is another every time.
    first, second = data.draw(st.permutations("Aa0-_.=é "))[:2]
    other = second if first == sealed[position] else first
    changed = sealed[:position] + other + sealed[position + 1 :]
    for text in (changed, sealed[:position], sealed + other):
        with pytest.raises(Unsealable):
            sealer.open(text)


def test_keys_are_shown_nowhere() -> None:
    """Neither a sealer nor its errors tell a key or a text."""
    sealer = Sealer([OLD])
    assert OLD not in repr(sealer)
    with pytest.raises(Unsealable) as refused:
        sealer.open("sealed.1.00000000.c2VjcmV0")
    assert "c2VjcmV0" not in str(refused.value)
