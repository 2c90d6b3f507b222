"""Bodies that a route reads by itself: raw JSON that had to be verified first, and the forms of the pages."""

from typing import TypeVar
from urllib.parse import parse_qsl

from pydantic import TypeAdapter, ValidationError

from services.chassis.errors import Fault, Invalid, Malformed

T = TypeVar("T")
_FAULTS_TOLD = 20
_FIELDS_MAX = 10


def read_json(shape: TypeAdapter[T], body: bytes) -> T:
    """The value that the bytes hold; Malformed if they are no JSON, Invalid naming where and why, never the value."""
    try:
        return shape.validate_json(body, strict=True)
    except ValidationError as error:
        faults = error.errors(include_input=False, include_url=False, include_context=False)
    if any(fault["type"] == "json_invalid" for fault in faults):
        raise Malformed("The body is not JSON.")
    raise Invalid(
        faults=[
            Fault(
                where=".".join(str(part) for part in ("body", *fault["loc"])),
                # That message would quote the tag that was sent.
                why="Unknown type" if fault["type"] == "union_tag_invalid" else fault["msg"],
            )
            for fault in faults[:_FAULTS_TOLD]
        ]
    )


def read_form(body: bytes) -> dict[str, str]:
    """The fields of an urlencoded form, each given once; Malformed otherwise."""
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
