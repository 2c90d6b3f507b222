"""Sending the messages of one key: one after another, outside any transaction, within the lease of the key."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from services.chassis import ids, logs, tracing
from services.chassis.clock import Clock
from services.chassis.errors import RemoteMisconfigured, RemoteRefused, RemoteUnknown, Unsealable
from services.chassis.hooks import ChassisHooks
from services.chassis.messaging.outbox import Message
from services.chassis.outbound.http import Answer, ServiceClient
from services.chassis.security.sealing import Sealer, is_sealed

SEND_TIMEOUT_S: Final = 5.0
MARGIN_S: Final = 1.0
"""The last send ends this long before the lease does: time to mark what was delivered."""
BACKOFF_S: Final = 0.2
BACKOFF_MAX_S: Final = 30.0
MISCONFIGURED_PAUSE_S: Final = 5.0

AnswerCheck = Callable[[Message, str, Answer], bool]
"""Says whether an answer is about this message; it gets the body of the message in clear."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right of this relay to send for one key, up to `until` (an instant of `clock.monotonic()`).

    `epoch` tells this lease from every earlier one. `attempts`: how often the first message was tried already.
    """

    key: str
    epoch: int
    attempts: int
    until: float


@dataclass(frozen=True, slots=True)
class Dead:
    """A message that its receiver has definitely refused, and why: a dead letter."""

    message: Message
    code: str
    detail: str


ALARMS: Final = ("outbox-dead-letter", "outbox-misconfigured", "outbox-send-failed", "outbox-mark-failed")
"""The alarms of the relay."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A problem of one key for an operator; `message_id`: the message that the key cannot get past."""

    kind: str
    reason: str
    message_id: str | None


@dataclass(slots=True)
class Outcome:
    """The result of sending under one lease: the delivered messages, and what stopped the next one, if anything did.

    `pause_s`: how long the key rests before it is tried again.
    """

    lease: Lease
    delivered: list[tuple[Message, Answer]] = field(default_factory=list)
    attempts: int = 0
    pause_s: float = 0
    dead: Dead | None = None
    alarm: Alarm | None = None

    @property
    def first_id(self) -> str | None:
        """The id of the first message that was tried under this lease, if it was delivered or raised an alarm."""
        if self.delivered:
            return self.delivered[0][0].id
        return self.alarm.message_id if self.alarm is not None else None


@dataclass(frozen=True, slots=True)
class Courier:
    """Sends messages.

    `addresses`: a client for each service. `answer_checks`: which answers settle a message, by message name.
    `stopping`: says whether the relay stops, so that no further message may be sent.
    """

    clock: Clock
    addresses: Mapping[str, ServiceClient]
    sealer: Sealer | None
    hooks: ChassisHooks
    stopping: Callable[[], bool]
    answer_checks: Mapping[str, AnswerCheck]

    async def deliver(self, lease: Lease, messages: Sequence[Message]) -> Outcome:
        """Send the messages of one key in order, until one of them fails or the lease is about to end."""
        outcome = Outcome(lease)
        for message in messages:
            deadline = min(self.clock.monotonic() + SEND_TIMEOUT_S, lease.until - MARGIN_S)
            if deadline - self.clock.monotonic() < MARGIN_S or self.stopping():
                break
            token = tracing.enter(message.traceparent)
            try:
                with logs.bound(message_id=message.id, message=message.name, order_key=message.key):
                    if not await self._send(message, deadline, outcome):
                        break
            finally:
                tracing.leave(token)
        return outcome

    async def _send(self, message: Message, deadline: float, outcome: Outcome) -> bool:
        """Send one message, and enter the result into `outcome`; False if the next message must not follow."""
        log = logs.get_logger("chassis.relay")
        attempt = 1 if outcome.delivered else outcome.lease.attempts + 1
        try:
            answer = await self._call(message, deadline)
        except RemoteRefused as refusal:
            outcome.dead = Dead(message, str(refusal.code), refusal.message)
            outcome.alarm = Alarm(
                "outbox-dead-letter", f"{message.name}: {refusal.code}: {refusal.message}", message.id
            )
            return False
        except RemoteMisconfigured as error:
            outcome.alarm = Alarm(
                "outbox-misconfigured", f"{message.method} {message.path}: {error.message}", message.id
            )
            outcome.attempts, outcome.pause_s = attempt, backoff_s(attempt, MISCONFIGURED_PAUSE_S)
            return False
        except RemoteUnknown as error:
            outcome.attempts, outcome.pause_s = attempt, backoff_s(attempt, error.retry_after_s or 0)
            log.warning("outbox.retry", attempt=attempt, retry_in_s=round(outcome.pause_s, 3), reason=error.message)
            return False
        except Exception as error:
            outcome.alarm = Alarm("outbox-send-failed", f"{message.name}: {type(error).__name__}", message.id)
            outcome.attempts, outcome.pause_s = attempt, backoff_s(attempt, MISCONFIGURED_PAUSE_S)
            log.exception("outbox.send_failed", attempt=attempt)
            return False
        self.hooks.message_sent(message.name)
        outcome.delivered.append((message, answer))
        log.debug("outbox.delivered", status=answer.status)
        return True

    async def _call(self, message: Message, deadline: float) -> Answer:
        client = self.addresses.get(message.service)
        if client is None:
            raise RemoteMisconfigured(f"no address for {message.service}", service=message.service)
        body = self._opened(message)
        answer = await client.request(
            message.method,
            message.path,
            body=body,
            key=message.id,
            deadline=deadline,
            acting_user=message.acting_user,
            accept=message.settled_by,
        )
        is_about_it = self.answer_checks.get(message.name)
        if is_about_it is not None and not is_about_it(message, body, answer):
            words = f"{message.service}: answered {answer.status}, but not about what was asked"
            raise RemoteUnknown(words, service=message.service, status=answer.status)
        return answer

    def _opened(self, message: Message) -> str:
        """Return the body in clear; RemoteMisconfigured if its encryption key is missing, so that it is tried again."""
        if not is_sealed(message.body):
            return message.body
        try:
            return self.sealer.open(message.body) if self.sealer is not None else message.body
        except Unsealable as error:
            raise RemoteMisconfigured(error.message, service=message.service) from None


def backoff_s(attempt: int, floor_s: float = 0) -> float:
    """Return the pause after this many attempts: exponential with a maximum, at least `floor_s`, with jitter."""
    backoff = min(BACKOFF_S * 2.0 ** min(attempt - 1, 16), BACKOFF_MAX_S) * ids.jitter(0.8, 1.2)
    return max(backoff, floor_s * ids.jitter(1.0, 1.2))
