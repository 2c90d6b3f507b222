"""Payloads by pydantic: what goes in comes out in the declared type, what does not fit is refused."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.contracts.money import Money
from services.orchestrator.clients import OrderTerms
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import PayloadError
from services.orchestrator.workflows import Approval

CODEC = PydanticCodec()


@dataclass(frozen=True)
class Point:
    x: int
    at: datetime


@dataclass(frozen=True, slots=True)
class Weight:
    kilograms: float


@pytest.mark.scenario("S6")
@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (None, type(None)),
        (None, str | None),
        ("", str),
        (0, int),
        (False, bool),
        ("x" * 1_048_576, str),
        ("\x00 and \u2028 and 😀", str),
        ({"a": [1, None, {"b": 2.5}]}, Any),
        ((1, "two"), tuple[int, str]),
        ((), tuple[()]),
        (timedelta(days=3), timedelta),
        (datetime(2026, 11, 24, tzinfo=UTC), datetime),
        (Point(1, datetime(2026, 11, 24, tzinfo=UTC)), Point),
        (Money(amount_minor=1999, currency="USD"), Money),
        (OrderTerms(*(timedelta(seconds=s) for s in (1, 2, 3, 4))), OrderTerms),
        (Approval(approved=True), Approval),
    ],
)
def test_values_come_back_as_they_were(value: Any, shape: Any) -> None:
    """Encode and decode are inverse, also for nothing, emptiness and a MiB."""
    assert CODEC.decode(CODEC.encode(value, shape), shape) == value


LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
    st.uuids(),
    st.datetimes(),
    st.decimals(),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner), st.dictionaries(st.text(), inner), st.dictionaries(st.integers(), inner), st.tuples(inner)
    ),
)


@given(VALUES, st.sampled_from([Any, object, dict[str, Any], list[Any], str, int, bool]))
def test_what_is_written_is_what_pydantic_writes(value: Any, shape: Any) -> None:
    """Which way a value is written does not show: the text is the same, and so is what is refused."""
    try:
        text = TypeAdapter(shape).serializer.to_json(value, warnings="error").decode()
    except ValueError:
        with pytest.raises(PayloadError):
            CODEC.encode(value, shape)
        return
    if value is None and shape not in {Any, object}:
        return  # pydantic writes null for anything; we do not
    assert CODEC.encode(value, shape) == text


@pytest.mark.scenario("S7")
@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (object(), Any),
        ("one", int),
        (1, str),
        ("\ud800", str),
        ({"approved": True}, Approval),
        (lambda: None, Any),
        (None, Money),
        (math.nan, float),
        (math.nan, float | None),
        (-math.inf, Any),
        ([1.5, math.inf], list[float]),
        ((None, {1.5, math.nan}), Any),
        ({"a": [{"b": math.nan}]}, dict[str, Any]),
        (Weight(math.inf), Weight),
    ],
)
def test_what_cannot_be_written_is_a_payload_error(value: Any, shape: Any) -> None:
    """No value slips through in another shape than the declared one."""
    with pytest.raises(PayloadError):
        CODEC.encode(value, shape)


@pytest.mark.parametrize(
    ("text", "shape"),
    [("{", Any), ('{"approved": "secret-word"}', Approval), ('{"approved": true, "by": "eve"}', Approval), ("1", str)],
)
def test_what_does_not_fit_is_refused_without_quoting_it(text: str, shape: Any) -> None:
    """The message names the place and the reason, never the content."""
    with pytest.raises(PayloadError) as refused:
        CODEC.decode(text, shape)
    assert "secret-word" not in refused.value.message
    assert "eve" not in refused.value.message


class Opaque:
    """A class that nobody has told pydantic of."""


@dataclass(frozen=True)
class Crate:
    holds: Opaque


@pytest.mark.parametrize("shape", [Opaque, list[Opaque], Opaque | None, Crate, "Nowhere"])
def test_a_type_that_nothing_can_be_written_as_says_so(shape: Any) -> None:
    """It is told before there is a value, and whoever writes or reads one all the same gets the same error."""
    asked: list[Callable[[], object]] = [
        lambda: CODEC.require(shape),
        lambda: CODEC.encode(1, shape),
        lambda: CODEC.decode("1", shape),
        lambda: CODEC.kept(1, shape),
    ]
    for ask in asked:
        with pytest.raises(PayloadError, match=r"cannot be written as JSON and read back: a model, a dataclass"):
            ask()


@pytest.mark.parametrize("shape", [Any, int, None, list[Point], OrderTerms, Approval | None])
def test_any_other_type_is_fine(shape: Any) -> None:
    """Nothing is asked of a type but that pydantic knows it."""
    CODEC.require(shape)


@pytest.mark.parametrize(
    ("value", "shape", "told"),
    [
        ([Approval(approved=True), {"approved": "secret-word"}], list[Approval], r"list\[.*Approval\]: 1.approved: "),
        ([{"approved": True, "reason": "secret-word"}], list[Approval], r"list\[.*Approval\]: Expected `Approval`"),
        ("secret-word", int, r"a str cannot be written as int: value: Input should be a valid integer"),
        ((1, Opaque()), tuple[Any, Any], r"Unable to serialize unknown type: <class '.*Opaque'>"),
    ],
)
def test_what_cannot_be_written_says_where_and_why(value: Any, shape: Any, told: str) -> None:
    """An author learns which part of a value is not of its type, and never what it was."""
    with pytest.raises(PayloadError, match=told) as refused:
        CODEC.encode(value, shape)
    assert "secret-word" not in refused.value.message


def test_no_recursion_escapes() -> None:
    """A value that contains itself is refused like any other."""
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(PayloadError):
        CODEC.encode(loop, Any)
