"""Payloads by pydantic, behind the engine's `Codec` protocol: JSON text in the shape that a signature declares.

Fields that the contracts mark as Secret are sealed in that text, so that neither the engine nor its tables see them.
"""

import json
import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final, get_origin

import orjson
from pydantic import PydanticUndefinedAnnotation, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, SchemaError

from services.chassis.errors import Unsealable
from services.chassis.inbound.faults import faults_of
from services.chassis.security.sealing import Sealer
from services.contracts.base import SEALED, SEALS
from services.orchestrator.engine import PayloadError

_FAULTS_TOLD = 5
_UNKNOWN_TYPE: Final = "Unable to serialize unknown type"
"""How pydantic begins the one error of writing that names a class and quotes no value."""
_EXPECTED: Final = re.compile(r"Expected `[^`\[]*`")
"""What a warning of its says before the value that it goes on to quote."""
_JSON: Final = (dict, list, str, int, bool)
_PLAIN: Final[Mapping[Any, tuple[type, ...]]] = {
    object: _JSON,
    Any: _JSON,
    dict[str, Any]: (dict,),
    list[Any]: (list,),
    str: (str,),
    int: (int,),
    bool: (bool,),
}
_AS_IT_STANDS: Final = (
    orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
)


@lru_cache(maxsize=512)
def _adapter(shape: Any) -> TypeAdapter[Any]:
    """Return what writes and reads a type; PayloadError if pydantic has no schema for it."""
    try:
        adapter = TypeAdapter(shape)
        adapter.rebuild()
    except (PydanticUserError, PydanticUndefinedAnnotation, SchemaError) as error:
        why = str(error).partition("\n")[0].partition(". ")[0]
        raise PayloadError(
            f"{_name(shape)} cannot be written as JSON and read back: a model, a dataclass or plain JSON can ({why})"
        ) from error
    return adapter


@lru_cache(maxsize=512)
def _may_be_none(shape: Any) -> bool:
    try:
        _adapter(shape).validate_json("null")
    except ValidationError:
        return False
    return True


def _plain(value: object, shape: Any) -> str | None:
    """Write what is JSON as it stands, where the shape asks for no more; None for whatever wants pydantic's look.

    It is the same text that pydantic writes, in a tenth of the time.
    """
    if type(value) not in _PLAIN.get(shape, ()):
        return None
    try:
        return orjson.dumps(value, option=_AS_IT_STANDS).decode()
    except TypeError:  # not JSON as it stands
        return None


def _loses_number(value: object, shape: Any) -> bool:
    """Say whether a value holds infinity or NaN, for which JSON has no word: both would be written as nothing."""
    return _is_lost(_adapter(shape).serializer.to_python(value, warnings=False))


def _is_lost(value: object) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(map(_is_lost, value.values()))
    return isinstance(value, list | tuple | set | frozenset) and any(map(_is_lost, value))


class PydanticCodec:
    """Writes and reads whatever pydantic has a schema for; a value of another shape is refused in both directions."""

    def __init__(self, sealer: Sealer | None = None) -> None:
        """Seal and open secrets with `sealer`; without one they stay as they are."""
        self._sealer = sealer
        self._context = None if sealer is None else {SEALS: sealer}

    def require(self, shape: Any) -> None:
        """Make sure that pydantic has a schema for `shape`; PayloadError."""
        _adapter(shape)

    def encode(self, value: object, shape: Any) -> str:
        """Write `value` as JSON text; PayloadError if it is not a `shape` or cannot be JSON."""
        if value is None and not _may_be_none(shape):
            # Pydantic would write null for any model.
            raise PayloadError(f"nothing cannot be written as {_name(shape)}")
        text = _plain(value, shape) or self._written(value, shape)
        if value is not None and "null" in text and _loses_number(value, shape):
            raise PayloadError(f"a {type(value).__name__} that holds infinity or NaN cannot be written")
        return text

    def _written(self, value: object, shape: Any) -> str:
        try:
            return _adapter(shape).serializer.to_json(value, warnings="error", context=self._context).decode()
        except (PydanticSerializationError, ValueError, TypeError, RecursionError) as error:
            raise PayloadError(
                f"a {type(value).__name__} cannot be written as {_name(shape)}: {_unwritable(value, shape, error)}"
            ) from error

    def decode(self, text: str, shape: Any, *, strict: bool = False) -> Any:
        """Read JSON text as `shape`; PayloadError naming where and why it does not fit, never the content.

        `strict` takes no string for a number, no number for a truth, and the like. What is written has the names of
        fields, so these are read beside aliases; `strict` knows aliases alone.
        """
        by_name = None if strict else True
        try:
            return _adapter(shape).validator.validate_json(
                text, strict=strict or None, context=self._context, by_alias=by_name, by_name=by_name
            )
        except Unsealable as error:
            raise PayloadError(f"this is a {_name(shape)} that cannot be opened: {error.message}") from None
        except ValidationError as error:
            raise PayloadError(f"this is no {_name(shape)}: {_faults(error)}") from None

    def kept(self, value: object, shape: Any) -> tuple[str, Any]:
        """Write `value`, and return what is read back; PayloadError if either does not go."""
        plain = _plain(value, shape)
        if plain is not None and "null" not in plain:
            return plain, orjson.loads(plain)
        text = self.encode(value, shape)
        try:
            return text, self.decode(text, shape)
        except PayloadError as error:
            raise PayloadError(f"what is written of a {type(value).__name__} cannot be read back: {error}") from error

    def read(self, value: Any, shape: Any) -> Any:
        """Read a stored value that has been parsed already, as `decode` does."""
        return self.decode(json.dumps(value), shape)

    def same(self, one: str, other: str) -> bool:
        """Whether two texts hold the same value: two seals of it never look the same."""
        if one == other:
            return True
        if self._sealer is None or SEALED not in one or SEALED not in other:
            return False
        try:
            return bool(self._opened(json.loads(one)) == self._opened(json.loads(other)))
        except (Unsealable, ValueError):
            return False

    def _opened(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._opened(item) for item in value]
        if not isinstance(value, dict):
            return value
        sealed = value.get(SEALED)
        if self._sealer is not None and len(value) == 1 and isinstance(sealed, str):
            return json.loads(self._sealer.open(sealed))
        return {name: self._opened(item) for name, item in value.items()}


def _name(shape: Any) -> str:
    """Return a class by its name, and what a parametrised type is written as."""
    name = getattr(shape, "__name__", None)
    return str(shape) if name is None or get_origin(shape) is not None else str(name)


def _faults(error: ValidationError) -> str:
    found = faults_of(error.errors(include_input=False, include_url=False))[:_FAULTS_TOLD]
    return "; ".join(f"{fault.where or 'value'}: {fault.why}" for fault in found)


def _unwritable(value: object, shape: Any, error: Exception) -> str:
    """Say what of a value is not of its type, or what it is that nobody can write; never what it holds."""
    said = str(error)
    if said.startswith(_UNKNOWN_TYPE):
        return said
    expected = _EXPECTED.search(said)
    words = type(error).__name__ if expected is None else expected[0]
    try:
        _adapter(shape).validator.validate_python(value, strict=True)
    except ValidationError as found:
        return _faults(found)
    except Exception:  # noqa: BLE001 - a validator of an author may raise anything
        return words
    return words
