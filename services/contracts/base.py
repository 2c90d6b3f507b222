"""The base of every contract: frozen, strict about unknown fields; and the mark of what is stored sealed."""

import json
from typing import Annotated, Any, Final, Protocol

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints, ValidationInfo
from pydantic_core import CoreSchema, core_schema

SEALED: Final = "$sealed"
"""The one name of the object that stands for a sealed value in JSON."""
SEALS: Final = "seals"
"""The name under which a reader or writer of payloads gives its `Seals` as context."""


class Contract(BaseModel):
    """A value that crosses a service boundary; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Seals(Protocol):
    """What seals texts and opens them."""

    def seal(self, text: str) -> str:
        """Return the text sealed."""

    def open(self, sealed: str) -> str:
        """Return what was sealed."""


class Secret:
    """Marks a field that must not be stored, logged or shown in clear.

    Between services it is written as it is. Who stores a payload gives `{SEALS: seals}` as pydantic's context: the
    field is then written as `{"$sealed": "…"}` and read back from that.
    """

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        schema = handler(source)
        return core_schema.with_info_wrap_validator_function(
            _open,
            schema,
            serialization=core_schema.wrap_serializer_function_ser_schema(_seal, schema=schema, info_arg=True),
        )


def _open(value: Any, inner: core_schema.ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    seals: Seals | None = (info.context or {}).get(SEALS)
    if seals is not None and isinstance(value, dict) and value.keys() == {SEALED} and isinstance(value[SEALED], str):
        return inner(json.loads(seals.open(value[SEALED])))
    return inner(value)


def _seal(value: Any, inner: core_schema.SerializerFunctionWrapHandler, info: core_schema.SerializationInfo) -> Any:
    seals: Seals | None = (info.context or {}).get(SEALS)
    if seals is None:
        return inner(value)
    return {SEALED: seals.seal(json.dumps(inner(value), separators=(",", ":")))}


Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""User ids, order ids and skus, in paths and in bodies."""
