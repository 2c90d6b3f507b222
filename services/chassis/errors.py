"""What goes wrong, as classes; `problems.py` alone knows the HTTP status.

The errors of the chassis, and the roots of all others, which stand in the `errors.py` of domains, engine and api. An
exception that only steers our own code, such as `LockTaken` of `connection.py`, stands where it is raised.

OrderSagaError
├── SettingsError                 the service may not start
├── DatabaseUnreachable           the service cannot start, and no bug of ours keeps it from that
├── Unsealable                    what is stored cannot be read
├── RequestError                  the caller is answered
│   ├── Malformed
│   │   └── UnknownHost
│   ├── Unauthenticated
│   ├── Forbidden
│   ├── NotFound
│   │   ├── UnknownRoute
│   │   └── DeadLetterUnknown
│   ├── MethodNotAllowed
│   ├── Conflict
│   │   └── InFlight
│   ├── Gone
│   ├── RequestTimedOut
│   ├── TooLarge
│   ├── AddressTooLong
│   ├── HeadersTooLarge
│   ├── UnsupportedMedia
│   ├── Invalid
│   │   └── KeyReused
│   ├── TooManyRequests
│   └── Unavailable
└── RemoteError                   another service has answered, or has not
    ├── RemoteRefused             definite: it said no, and will not change its mind
    ├── RemoteUnknown             it may or may not have happened
    └── RemoteMisconfigured       we are not let in, or call what is not there
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

UNKNOWN_ROUTE = "unknown-route"
METHOD_NOT_ALLOWED = "method-not-allowed"
UNAUTHENTICATED = "unauthenticated"


class OrderSagaError(Exception):
    """Something went wrong.

    The first line of a class's docstring is its default message; `code` is stable and machine-readable.
    """

    code: ClassVar[str] = "error"

    def __init__(self, message: str | None = None) -> None:
        self.message = message if message is not None else default_message(type(self))
        super().__init__(self.message)


def default_message(kind: type[OrderSagaError]) -> str:
    return (kind.__doc__ or kind.__name__).strip().splitlines()[0]


class SettingsError(OrderSagaError):
    """The settings do not allow the service to start.

    `faults` names every one of them.
    """

    code = "settings"

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join([default_message(type(self)), *(f"  - {fault}" for fault in faults)]))


class DatabaseUnreachable(OrderSagaError):
    """The database cannot be used.

    `place` is where it was looked for, as host, port and database; `advice` is what an operator should do.
    """

    code = "database-unreachable"

    def __init__(self, place: Mapping[str, object], why: str, advice: str) -> None:
        host = str(place["host"])
        where = host if "," in host else f"{host}:{place['port'] or 5432}"
        super().__init__(f"The database {place['database']} at {where} cannot be used: {why}. {advice}.")


class Unsealable(OrderSagaError):
    """This was sealed with a key that is not among ENCRYPTION_KEYS, or has been changed since."""

    code = "unsealable"


class RequestError(OrderSagaError):
    """The request cannot be served.

    `final`: a business refusal that will not change; it is stored under the request's idempotency key.
    `retry_after_s`: how many seconds later the caller may try again; None where that would change nothing.
    """

    code = "request-error"
    final: ClassVar[bool] = False
    retry_after_s: float | None = None

    def __init__(self, message: str | None = None, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s or self.retry_after_s


class Malformed(RequestError):
    """The request is malformed."""

    code = "malformed"


class UnknownHost(Malformed):
    """This service does not answer to that host name."""

    code = "unknown-host"


class Unauthenticated(RequestError):
    """Credentials are missing or not accepted."""

    code = UNAUTHENTICATED


class Forbidden(RequestError):
    """Your role does not allow this."""

    code = "forbidden"


class NotFound(RequestError):
    """There is no such thing, or it is not yours."""

    code = "not-found"


class UnknownRoute(NotFound):
    """There is nothing at this path."""

    code = UNKNOWN_ROUTE


class DeadLetterUnknown(NotFound):
    """No refused message has this id; it may have been sent again, delivered or discarded meanwhile."""

    code = "dead-letter-unknown"


class MethodNotAllowed(RequestError):
    """This path does not answer to this method."""

    code = METHOD_NOT_ALLOWED


class Conflict(RequestError):
    """The present state does not allow this."""

    code = "conflict"


class InFlight(Conflict):
    """A request with this idempotency key is still running."""

    code = "in-flight"
    retry_after_s: float = 1


class Gone(RequestError):
    """This is no longer available."""

    code = "gone"


class TooLarge(RequestError):
    """The request body is too large."""

    code = "too-large"


class RequestTimedOut(RequestError):
    """The request did not arrive in time."""

    code = "request-timed-out"


class AddressTooLong(RequestError):
    """The address of the request is too long."""

    code = "address-too-long"


class HeadersTooLarge(RequestError):
    """The headers of the request are too large."""

    code = "headers-too-large"


class UnsupportedMedia(RequestError):
    """The request body must be application/json."""

    code = "unsupported-media-type"


@dataclass(frozen=True, slots=True)
class Fault:
    """Where in a request something is invalid, and why; never the value itself."""

    where: str
    why: str


class Invalid(RequestError):
    """The request is well-formed but invalid.

    `faults` says where and why.
    """

    code = "invalid"

    def __init__(self, message: str | None = None, *, faults: Sequence[Fault] = ()) -> None:
        super().__init__(message)
        self.faults = tuple(faults)


class KeyReused(Invalid):
    """This idempotency key was used with another request body."""

    code = "idempotency-key-reused"


class TooManyRequests(RequestError):
    """Too many requests; come back later."""

    code = "too-many-requests"
    retry_after_s: float = 1


class Unavailable(RequestError):
    """The service cannot answer now; come back later."""

    code = "unavailable"
    retry_after_s: float = 1


class RemoteError(OrderSagaError):
    """Another service did not do what was asked."""

    code = "remote-error"

    def __init__(self, message: str | None = None, *, service: str, status: int | None = None) -> None:
        super().__init__(message)
        self.service = service
        self.status = status


class RemoteRefused(RemoteError):
    """The other service refused, definitely.

    `code` is the business code of its answer, `message` its detail, `status` its HTTP status.
    """

    code = "remote-refused"
    status: int

    def __init__(self, code: str, message: str, *, service: str, status: int) -> None:
        super().__init__(message, service=service, status=status)
        self.code = code  # type: ignore[misc]  # the remote's code stands in for the class's


class RemoteUnknown(RemoteError):
    """It is unknown whether the other service did what was asked.

    `retry_after_s`: what the answer asked us to wait, in seconds; `remote_code`: its code, if it had one.
    """

    code = "remote-unknown"

    def __init__(
        self,
        message: str | None = None,
        *,
        service: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        remote_code: str | None = None,
    ) -> None:
        super().__init__(message, service=service, status=status)
        self.retry_after_s = retry_after_s
        self.remote_code = remote_code


class RemoteMisconfigured(RemoteError):
    """The other service does not let us in, or does not know the path."""

    code = "remote-misconfigured"
