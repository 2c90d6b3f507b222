"""How long authors have something take: a number is refused, as nobody knows its unit."""

from datetime import UTC, datetime, timedelta


def checked_duration(what: str, duration: timedelta) -> timedelta:
    """Return a duration; TypeError for anything else."""
    if not isinstance(duration, timedelta):
        raise TypeError(f"{what} must be a timedelta, not {duration!r}: timedelta(seconds=…)")
    return duration


def checked_timeout(timeout: timedelta | None) -> timedelta | None:
    """Return how long a wait may take at most, None for ever; TypeError for anything else."""
    return None if timeout is None else checked_duration("timeout=", timeout)


def attempt_s(timeout: timedelta) -> float:
    """Return how long an attempt may take; ValueError for nothing, within which none would succeed."""
    seconds = checked_duration("timeout=", timeout).total_seconds()
    if seconds <= 0:
        raise ValueError(f"timeout= must be longer than nothing, not {timeout}")
    return seconds


def checked_moment(what: str, moment: datetime) -> datetime:
    """Return a moment in UTC; TypeError for what is none, ValueError if it does not name its time zone."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} needs a datetime, not {moment!r}: datetime(…, tzinfo=UTC)")
    if moment.utcoffset() is None:
        raise ValueError(f"{what} needs a moment with a time zone, not {moment!r}: datetime(…, tzinfo=UTC)")
    return moment.astimezone(UTC)
