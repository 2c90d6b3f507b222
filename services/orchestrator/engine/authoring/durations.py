"""Checks of durations and moments that authors give: a number is refused, because its unit would be unknown."""

from datetime import UTC, datetime, timedelta


def checked_duration(what: str, duration: timedelta) -> timedelta:
    """Return a duration; TypeError for anything else."""
    if not isinstance(duration, timedelta):
        raise TypeError(f"{what} must be a timedelta, not {duration!r}: timedelta(seconds=…)")
    return duration


def checked_timeout(timeout: timedelta | None) -> timedelta | None:
    """Return the timeout of a wait, None for no limit; TypeError for anything else."""
    return None if timeout is None else checked_duration("timeout=", timeout)


def attempt_s(timeout: timedelta) -> float:
    """Return the timeout of an attempt in seconds; ValueError unless it is positive."""
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
