"""Forms: what is read of them, and what is refused before it is looked at."""

import pytest

from services.chassis.errors import Malformed, TooLarge
from services.orchestrator.api.bodies import read_form


def test_a_form_is_read() -> None:
    """Fields by name, decoded, empty ones too."""
    assert read_form(b"decision=reject&reason=too+late%21&csrf=") == {
        "decision": "reject",
        "reason": "too late!",
        "csrf": "",
    }
    assert read_form(b"") == {}


@pytest.mark.parametrize("body", [b"a=1&a=2", b"a=%00", b"a=\xff", b"a", b"&" * 11, b"a=%ff"])
def test_what_no_form_of_ours_sends_is_malformed(body: bytes) -> None:
    """A field twice, a NUL, other encodings, no field at all."""
    with pytest.raises(Malformed):
        read_form(body)


@pytest.mark.scenario("G24")
def test_a_form_larger_than_any_of_ours_is_not_read() -> None:
    """A form of a megabyte, as a JSON body may be, would hold everybody up: anyone may send one, signed in or not."""
    assert len(read_form(b"a=" + b"%20" * 21_000)["a"]) == 21_000
    with pytest.raises(TooLarge):
        read_form(b"a=" + b"%20" * 22_000)
