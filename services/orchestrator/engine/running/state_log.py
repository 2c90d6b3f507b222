"""The state of a saga in its log: what its code writes, and what it has written before."""

from typing import Any

from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.records import Kind
from services.orchestrator.engine.model.state import Write
from services.orchestrator.engine.running.log import RunLog


class StateLog:
    """Fulfils `StateRecorder` for one saga. A write is a record; to read is to look at what the code has written."""

    __slots__ = ("_codec", "_log")

    def __init__(self, log: RunLog, codec: Codec) -> None:
        """Take the log to write to."""
        self._log = log
        self._codec = codec

    def read(self, name: str, shape: Any, default: Any) -> Any:
        """Return what stands under a name where the code is, `default` if nothing does."""
        text = self._seen().get(name)
        return default if text is None else self._codec.decode(text, shape)

    def write(self, name: str, value: Any, shape: Any) -> None:
        """Set a value once; one that is recorded stands, whatever the code would set on a replay."""
        position = self._log.next_position()
        label = Write(position, name, "").label
        text = self._log.recorded(position, Kind.STATE, label)
        if text is None:
            text = self._codec.encode(value, shape)
            self._log.append(position, Kind.STATE, label, text)
        self._log.writes.add(Write(position, name, text))

    def clear(self, name: str | None) -> None:
        """Clear the value of a name, or of all names, once."""
        write = Write(self._log.next_position(), name)
        if self._log.recorded(write.position, Kind.STATE, write.label) is None:
            self._log.append(write.position, Kind.STATE, write.label, "null")
        self._log.writes.add(write)

    def names(self) -> tuple[str, ...]:
        """Return the names under which a value stands where the code is, sorted."""
        return tuple(sorted(self._seen()))

    def _seen(self) -> dict[str, str]:
        return self._log.writes.seen_from(self._log.place())
