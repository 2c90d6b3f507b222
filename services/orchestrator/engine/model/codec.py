"""How payloads become text: the protocol that the service's codec fulfils."""

from typing import Any, Final, Protocol

from services.orchestrator.engine.model.errors import PayloadError

ERASED = '"erased"'
"""What stands in the place of an input that has been erased, as JSON text."""
_READ_AS_WRITTEN: Final = (str, int, float, bool)
"""Types whose values JSON gives back as they are, if no more is asked of them."""


class Codec(Protocol):
    """Writes values as JSON text and reads them back by their declared type."""

    def encode(self, value: object, shape: Any) -> str:
        """Write `value` as JSON text; PayloadError if it cannot be written as `shape`."""
        ...

    def decode(self, text: str, shape: Any, *, strict: bool = False) -> Any:
        """Read JSON text as `shape`; PayloadError if it does not fit.

        `strict`: what JSON has a type for must have it, so that `"yes"` is no true and `"7"` no number.
        """
        ...

    def same(self, one: str, other: str) -> bool:
        """Say whether two texts hold the same value: a codec may write one value in many ways."""
        ...


def kept(codec: Codec, value: object, shape: Any) -> tuple[str, Any]:
    """Write a value, and return what is read back: what code goes on with at first is what a replay gives it.

    PayloadError if it cannot be written, or what is written is no `shape`.
    """
    text = codec.encode(value, shape)
    if type(value) in _READ_AS_WRITTEN and shape in (type(value), Any, object):
        return text, value
    try:
        return text, codec.decode(text, shape)
    except PayloadError as error:
        raise PayloadError(f"what is written of a {type(value).__name__} cannot be read back: {error}") from error


def admitted(codec: Codec, value: object, shape: Any) -> str:
    """Write what comes from outside in the one form that its kind is compared in; PayloadError if it is no `shape`."""
    return codec.encode(codec.decode(codec.encode(value, object), shape, strict=True), shape)
