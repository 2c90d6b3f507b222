"""The chassis's named moments: between every two writes of a request or of a relay there is one, to be killed in.

The engine has its own (`services/orchestrator/engine/hooks.py`). The list of methods here is the list of the crash
points of ingress and outbox, for all services; docs/engine.md tells them too.
"""


class ChassisHooks:
    """Does nothing; subclass it and override what you want to hear. Methods must be quick and must not block."""

    def request_received(self, method: str, path: str) -> None:
        """A request is read and let in; nothing of it is written."""

    def commit_before(self) -> None:
        """A transaction has done its work and is about to be committed."""

    def commit_unseen(self) -> None:
        """A transaction is committed; its answer has not been seen. A ConnectionError raised here is a lost answer."""

    def reply_before(self, status: int) -> None:
        """What a request has done is durable; its answer is about to be sent."""

    def message_picked(self, key: str) -> None:
        """A key of the outbox is leased; nothing of it has been sent."""

    def message_sent(self, name: str) -> None:
        """A message is delivered; that is not written down."""
