"""Payloads by pydantic, behind the engine's `Codec` protocol: JSON text in the shape that a signature declares."""

from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from services.orchestrator.engine import PayloadError

_FAULTS_TOLD = 5


@lru_cache(maxsize=512)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    return TypeAdapter(shape)


@lru_cache(maxsize=512)
def _may_be_none(shape: Any) -> bool:
    try:
        _adapter(shape).validate_json("null")
    except ValidationError:
        return False
    return True


class PydanticCodec:
    """Writes and reads whatever pydantic has a schema for; a value of another shape is refused in both directions."""

    def encode(self, value: object, shape: Any) -> str:
        """Write `value` as JSON text; PayloadError if it is not a `shape` or cannot be JSON."""
        if value is None and not _may_be_none(shape):
            # Pydantic would write null for any model.
            raise PayloadError(f"nothing cannot be written as {_name(shape)}")
        try:
            return _adapter(shape).dump_json(value, warnings="error").decode()
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            message = f"a {type(value).__name__} cannot be written as {_name(shape)}: {type(error).__name__}"
            raise PayloadError(message) from error

    def decode(self, text: str, shape: Any) -> Any:
        """Read JSON text as `shape`; PayloadError naming where and why it does not fit, never the content."""
        try:
            return _adapter(shape).validate_json(text)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(str(part) for part in fault['loc']) or 'value'}: {fault['msg']}"
                for fault in error.errors(include_input=False, include_url=False, include_context=False)[:_FAULTS_TOLD]
            )
            message = f"this is no {_name(shape)}: {faults}"
            raise PayloadError(message) from None


def _name(shape: Any) -> str:
    return getattr(shape, "__name__", None) or str(shape)
