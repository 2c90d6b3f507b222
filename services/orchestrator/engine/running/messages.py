"""Completing the messages of a saga: id, acting user and trace; texts that cannot be stored are refused."""

from dataclasses import replace
from typing import Final

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.names import checked_text
from services.orchestrator.engine.model.records import Saga

_OF_A_MESSAGE: Final = ("service", "method", "path", "key", "name", "body", "id", "acting_user", "traceparent")


def addressed(message: Message, saga: Saga, message_id: str) -> Message:
    """Give a message its id, and the acting user and the trace of its saga; ValueError for one that cannot be kept."""
    for part in _OF_A_MESSAGE:
        checked_text(f"the {part} of a message", getattr(message, part) or "")
    return replace(
        message,
        id=message.id or message_id,
        acting_user=message.acting_user or saga.subject,
        traceparent=message.traceparent or saga.traceparent,
    )
