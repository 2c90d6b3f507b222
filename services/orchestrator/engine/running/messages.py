"""Completing the messages of a saga: id, acting user and trace; texts that cannot be stored are refused."""

from dataclasses import replace
from typing import Final

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.names import checked_indexed, checked_message_id, checked_text
from services.orchestrator.engine.model.records import Saga
from services.orchestrator.engine.running.limited_codec import LimitedCodec

_OF_A_MESSAGE: Final = ("service", "method", "path", "name", "body", "acting_user", "traceparent")


def addressed(message: Message, saga: Saga, message_id: str, codec: LimitedCodec) -> Message:
    """Give a message its id, and the acting user and the trace of its saga.

    ValueError for one that cannot be kept, or whose id is no idempotency key; PayloadError for one that is too large.
    """
    for part in _OF_A_MESSAGE:
        checked_text(f"the {part} of a message", getattr(message, part) or "")
    checked_indexed("the key of a message", message.key)
    codec.bounded(message.body)
    return replace(
        message,
        id=checked_message_id(message.id) if message.id else message_id,
        acting_user=message.acting_user or saga.subject,
        traceparent=message.traceparent or saga.traceparent,
    )
