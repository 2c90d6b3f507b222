"""Fingerprints tell requests apart, survive a rotation of keys, and mean nothing without a key."""

import hashlib

import pytest

from services.chassis.security.fingerprints import Fingerprints

OLD, NEW = "an-old-secret", "a-new-secret"
CONTENT = b'{"name":"Ada","street":"1 Main St"}'


def test_only_who_has_the_key_recognises_a_content() -> None:
    """The same content gives the same fingerprint under one key, another under another, and no plain hash is one."""
    (made,) = Fingerprints([OLD]).of(CONTENT)
    assert (made,) == Fingerprints([OLD]).of(CONTENT)
    assert made not in Fingerprints([NEW]).of(CONTENT)
    assert made not in Fingerprints([OLD]).of(CONTENT + b" ")
    assert made not in {hashlib.new(name, CONTENT).hexdigest() for name in ("sha256", "sha512", "md5")}
    assert OLD not in repr(Fingerprints([OLD]))


def test_what_an_older_key_has_made_is_recognised() -> None:
    """After a rotation new fingerprints are the new key's, and the old ones are known until the key is gone."""
    (old,) = Fingerprints([OLD]).of(CONTENT)
    stored, *former = Fingerprints([NEW, OLD]).of(CONTENT)
    assert former == [old]
    assert Fingerprints([NEW]).of(CONTENT) == (stored,)


def test_there_is_a_key() -> None:
    """Without a secret there are no fingerprints."""
    with pytest.raises(ValueError, match="secret"):
        Fingerprints([])
