"""Rate limits by address and by user, and the limit of requests in progress.

An address is charged only for requests without a valid token, signature or sign-in. So other services and signed
webhooks are never slowed down by other traffic from their address, but somebody who guesses passwords is.
"""

import ipaddress
import math
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from services.chassis.clock import Clock
from services.chassis.errors import TooManyRequests, Unavailable

BURST_S: Final = 10.0
"""A budget holds what it gains in this time."""
NAMES_MAX: Final = 20_000
WAITING_SHARE: Final = 4
"""One in so many of the requests being answered may be one that waits, and one in so many one that arrives slowly."""
FORWARDED_FOR: Final = "X-Forwarded-For"
_UNKNOWN: Final = "unknown"
_WITH_PORT: Final = re.compile(r"\[([^\]]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}", re.ASCII)
_FORWARDS_MAX: Final = 20
_A_MINUTE_S: Final = 60.0
_A_DAY_S: Final = 86_400.0
_KEYS_STORED: Final = (
    "You have stored too many idempotency keys, which are kept for seven days; a new one has to wait."
    " Stored answers are given as ever, and so are requests without a key where none is required."
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Budgets:
    """A budget of requests for each name; those unused longest are forgotten when there are too many."""

    def __init__(self, *, per_s: float, burst: float, clock: Clock, names_max: int = NAMES_MAX) -> None:
        """Fill each budget by `per_s` a second up to `burst`; 0 sets no limit."""
        self._per_s = per_s
        self._burst = max(1.0, burst)
        self._clock = clock
        self._names_max = names_max
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait_s(self, name: str) -> float:
        """Return 0 if there is something left, otherwise the seconds until there is."""
        if self._per_s <= 0:
            return 0
        left = self._now(name)
        return 0 if left >= 1 else (1 - left) / self._per_s

    def spend(self, name: str) -> float:
        """Spend one request; return 0, or the seconds until there is one to spend."""
        if self._per_s <= 0:
            return 0
        left = self._now(name)
        if left < 1:
            return (1 - left) / self._per_s
        self._left[name] = (left - 1, self._clock.monotonic())
        self._left.move_to_end(name)
        while len(self._left) > self._names_max:
            self._left.popitem(last=False)
        return 0

    def __len__(self) -> int:
        return len(self._left)

    def _now(self, name: str) -> float:
        now = self._clock.monotonic()
        left, at = self._left.get(name, (self._burst, now))
        return min(self._burst, left + max(0.0, now - at) * self._per_s)


class Places:
    """A limited number of places; a request that finds none is refused."""

    def __init__(self, number: int, refusal: str) -> None:
        """Take how many there are, and what is said where all are taken."""
        self._free = number
        self._refusal = refusal

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold one for the block; Unavailable if there is none."""
        if self._free <= 0:
            raise Unavailable(self._refusal)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1


class Limits:
    """The limits of one process of a service.

    `requests` are those being answered; of them some may be `waiting` for something, and some `arriving` slowly.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        address_per_s: float,
        user_per_s: float,
        in_progress_max: int,
        proxies: Sequence[Network] = (),
        keys: Budgets | None = None,
    ) -> None:
        """Take rates in requests a second; `proxies` are those whose word about addresses is taken.

        `keys` are the budgets of idempotency keys that users may have stored; None sets no limit.
        """
        self._keys = keys
        self._addresses = Budgets(per_s=address_per_s, burst=address_per_s * BURST_S, clock=clock)
        self._users = Budgets(per_s=user_per_s, burst=user_per_s * BURST_S, clock=clock)
        self._proxies = tuple(proxies)
        self.requests = Places(in_progress_max, "Too many requests are being answered; come back in a moment.")
        share = max(1, in_progress_max // WAITING_SHARE)
        self.waiting = Places(share, "Too many requests wait already; ask without waiting, or come back.")
        self.arriving = Places(share, "Too many requests arrive slowly already; send yours faster, or come back.")

    def check_address(self, address: str) -> None:
        """Refuse an address with too many requests that proved no identity."""
        _refuse_after(self._addresses.wait_s(address))

    def charge_address(self, address: str) -> None:
        """Charge an address for a request that proved no identity."""
        self._addresses.spend(address)

    def charge_user(self, user: str) -> None:
        """Count a user's request; refuse it if there were too many."""
        _refuse_after(self._users.spend(user))

    def check_key(self, user: str) -> None:
        """Refuse a new idempotency key of a user who has too many stored."""
        if self._keys is not None:
            _refuse_after(self._keys.wait_s(user), _KEYS_STORED, most_s=_A_DAY_S)

    def charge_key(self, user: str) -> None:
        """Count a key that is stored."""
        if self._keys is not None:
            self._keys.spend(user)

    def address_of(self, scope: Scope, headers: Headers) -> str:
        """Return whom a request comes from: its peer, or what a proxy that we trust says of it."""
        client = scope.get("client")
        peer = _parsed(client[0]) if client else None
        if peer is None:
            return _UNKNOWN
        if self._trusts(peer):
            forwarded = ",".join(headers.getlist(FORWARDED_FOR)).split(",")
            for text in reversed(forwarded[-_FORWARDS_MAX:]):
                said = _parsed(text.strip())
                if said is None:
                    break
                peer = said
                if not self._trusts(said):
                    break
        if isinstance(peer, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((peer, 64), strict=False))  # one customer of a provider has all of a /64
        return str(peer)

    def _trusts(self, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
        return any(address in network for network in self._proxies)


def vouch(scope: Scope) -> None:
    """Mark a request as having proved its identity, so that its address is not charged for it."""
    scope.setdefault("state", {})["vouched"] = True


def is_vouched(scope: Scope) -> bool:
    """Say whether the request has proved its identity."""
    return bool(scope.get("state", {}).get("vouched"))


def _parsed(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address; some proxies add its port, and brackets to one of IPv6."""
    with_port = _WITH_PORT.fullmatch(text)
    try:
        address = ipaddress.ip_address(with_port[1] or with_port[2] if with_port else text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _refuse_after(wait_s: float, why: str | None = None, *, most_s: float = _A_MINUTE_S) -> None:
    if wait_s > 0:
        raise TooManyRequests(why, retry_after_s=min(most_s, math.ceil(wait_s)))
