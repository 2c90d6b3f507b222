"""The codec with a size limit for payloads."""

from typing import Any

from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import PayloadError


class LimitedCodec:
    """A codec that refuses to write more than `limit` bytes."""

    def __init__(self, codec: Codec, limit: int) -> None:
        """Take the codec to bound."""
        self._codec = codec
        self._limit = limit

    def require(self, shape: Any) -> None:
        """Make sure that there can be payloads of this type; PayloadError."""
        self._codec.require(shape)

    def encode(self, value: object, shape: Any) -> str:
        """Write `value` as JSON text; PayloadError if it cannot be written or is too large."""
        return self.bounded(self._codec.encode(value, shape))

    def kept(self, value: object, shape: Any) -> tuple[str, Any]:
        """As `encode`, with what is read back."""
        text, read = self._codec.kept(value, shape)
        return self.bounded(text), read

    def bounded(self, text: str) -> str:
        """Return text that is written already; PayloadError if it is too large."""
        if len(text) > self._limit or (not text.isascii() and len(text.encode()) > self._limit):
            raise PayloadError(f"the payload is larger than the limit of {self._limit} bytes")
        return text

    def decode(self, text: str, shape: Any, *, strict: bool = False) -> Any:
        """Read JSON text as `shape`."""
        return self._codec.decode(text, shape, strict=strict)

    def same(self, one: str, other: str) -> bool:
        """Say whether two texts hold the same value."""
        return self._codec.same(one, other)
