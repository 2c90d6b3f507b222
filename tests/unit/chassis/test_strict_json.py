"""Strict JSON: what is refused, how, and that nothing of it is let through by another spelling."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import Invalid, Malformed
from services.chassis.inbound import strict_json


@pytest.mark.parametrize(
    "raw",
    [
        b"{",
        b"",
        b"nul",
        b'{"a": NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 1}}',
        b'{"a": 1, "\\u0061": 2}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        '"é"'.encode("utf-16"),
        b"\xef\xbb\xbf{}",
        b'"\x00"',
        b"[1] x",
    ],
)
def test_what_is_no_json_is_malformed(raw: bytes) -> None:
    """Broken JSON, NaN, duplicate names and other encodings are Malformed."""
    with pytest.raises(Malformed):
        strict_json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b'"\\u0000"',
        b'{"\\u0000": 1}',
        b'["\\ud800"]',
        b'{"a": "\\uDFFF x"}',
        b'"\\udc00\\ud800"',
        b"[9223372036854775808]",
        b"[-9223372036854775809]",
        b"1" + b"0" * 5000,
        b"1e999",
        b"[" * 65 + b"]" * 65,
        b"[" * 200_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    ],
)
def test_what_cannot_be_stored_is_invalid(raw: bytes) -> None:
    """NUL, half surrogates, integers over 64 bits and bottomless nesting are Invalid."""
    with pytest.raises(Invalid):
        strict_json.loads(raw)


@pytest.mark.parametrize(
    "raw",
    [
        b"[1" + b",1" * strict_json.MAX_VALUES + b"]",
        b"[{}" + b",{}" * strict_json.MAX_VALUES + b"]",
        b"[[]" + b",[]" * 100 + b'""' * 500_000,
        b"{" + b",".join(b'"%d":1' % number for number in range(strict_json.MAX_NAMES + 1)) + b"}",
    ],
)
@pytest.mark.scenario("G24")
def test_more_values_than_anybody_needs_are_refused(raw: bytes) -> None:
    """However they are written, so that no body takes long to read, to check, or to say what is wrong with."""
    with pytest.raises(Invalid):
        strict_json.loads(raw)


def test_many_values_are_read() -> None:
    """As many values as may be, in as many objects, and any number of commas within text."""
    most = b"[" + b",".join([b'{"a,b":"c,[d"}'] * ((strict_json.MAX_VALUES - 1) // 2)) + b"]"
    assert len(strict_json.loads(most)) == (strict_json.MAX_VALUES - 1) // 2
    assert strict_json.loads(b'"' + b",[" * 100_000 + b'"') == ",[" * 100_000
    names = {str(number): 1 for number in range(strict_json.MAX_NAMES)}
    assert strict_json.loads(json.dumps(names).encode()) == names


@pytest.mark.parametrize(
    "raw",
    [b'"\\ud83d\\ude00"', b"[9223372036854775807]", b"[" * 64 + b"]" * 64, b'"' + b"[" * 1000 + b'"', b'"\\\\u0000"'],
)
def test_what_only_looks_bad_passes(raw: bytes) -> None:
    """A full surrogate pair, the greatest integer, brackets in text and an escaped backslash are fine."""
    assert strict_json.loads(raw) == json.loads(raw)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_everything_else_is_read_as_the_standard_library_reads_it(value: object) -> None:
    """A storable value survives, and its canonical text does not depend on how it was written."""
    loose = json.dumps(value, indent=2)
    assert strict_json.loads(loose.encode()) == value
    assert strict_json.canonical(json.loads(loose)) == strict_json.canonical(value)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("end", [b"", b"\\", b'"'])
@pytest.mark.scenario("G24")
def test_a_string_without_an_end_is_looked_at_once(end: bytes) -> None:
    """A body of the greatest size takes no longer for being full of escaped quotes that nothing closes."""
    brackets = b"[]" * (strict_json.MAX_DEPTH + 1)
    with pytest.raises(Malformed):
        strict_json.loads(brackets + b'"' + b'\\"' * 500_000 + end)
