"""Reading bodies that routes parse themselves: JSON whose bytes are verified first, and forms of the pages."""

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from services.chassis.errors import Invalid, Malformed, TooLarge
from services.chassis.inbound.faults import faults_of

T = TypeVar("T")
_FIELDS_MAX = 10
_FORM_BYTES_MAX = 65_536


def read_json(shape: TypeAdapter[T], body: bytes, *, tag: str | None = None) -> T:
    """The value that the bytes hold; Malformed if they are no JSON, Invalid naming where and why, never the value.

    `tag`: the field that tells the models of a union apart, if the shape is one.
    """
    try:
        return shape.validate_json(body, strict=True)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False)
    if any(fault["type"] == "json_invalid" for fault in faults):
        raise Malformed("The body is not JSON.")
    raise Invalid(faults=faults_of(faults, under=["body"], tag=tag))


def read_form(body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form, each given once; Malformed otherwise. TooLarge: no form of ours is."""
    if len(body) > _FORM_BYTES_MAX:
        raise TooLarge(f"The form is larger than {_FORM_BYTES_MAX} bytes.")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=bool(body),
            errors="strict",
            max_num_fields=_FIELDS_MAX,
        )
    except ValueError:
        raise Malformed("The body is not a form.") from None
    fields = dict(pairs)
    if len(fields) != len(pairs) or any("\x00" in value for value in fields.values()):
        raise Malformed("A field of the form is given twice, or holds what no form of ours sends.")
    return fields
