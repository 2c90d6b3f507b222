"""How payloads become text: the protocol that the service's codec fulfils."""

from typing import Any, Protocol

ERASED = '"erased"'
"""What stands in the place of an input that has been erased, as JSON text."""


class Codec(Protocol):
    """Writes values as JSON text and reads them back by their declared type."""

    def require(self, shape: Any) -> None:
        """Make sure that there can be payloads of this type; PayloadError, which says why, if there cannot."""
        ...

    def encode(self, value: object, shape: Any) -> str:
        """Write `value` as JSON text; PayloadError if it cannot be written as `shape`."""
        ...

    def decode(self, text: str, shape: Any, *, strict: bool = False) -> Any:
        """Read JSON text as `shape`; PayloadError if it does not fit.

        `strict`: what JSON has a type for must have it, so that `"yes"` is no true and `"7"` no number.
        """
        ...

    def kept(self, value: object, shape: Any) -> tuple[str, Any]:
        """Write `value` as `encode` does, and return what is read back; PayloadError also if that is no `shape`.

        Code that goes on with it goes on with what a replay gives it.
        """
        ...

    def same(self, one: str, other: str) -> bool:
        """Say whether two texts hold the same value: a codec may write one value in many ways."""
        ...


def canonical(codec: Codec, value: object, shape: Any) -> str:
    """Write a value from outside in the canonical form of its type, for comparison; PayloadError if it does not fit."""
    return codec.encode(codec.decode(codec.encode(value, object), shape, strict=True), shape)
