"""What follows from each kind of failure: one row a type. The reasons stand in the project's table of faults."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from providers import errors


class Signal(Enum):
    """What an outcome says to a breaker."""

    GOOD = "good"
    BAD = "bad"
    TRIP = "trip"
    SILENT = "silent"


class Next(Enum):
    """Where a request goes after a failed attempt."""

    STOP = "stop"
    FAIL_OVER = "fail_over"
    RETRY_ONCE = "retry_once"
    LARGER_CONTEXT = "larger_context"


class Verdict(NamedTuple):
    """`next` for the request; `target` and `provider` for their breakers."""

    next: Next
    target: Signal
    provider: Signal


_TABLE: dict[type[BaseException], Verdict] = {
    errors.ContextLengthExceeded: Verdict(Next.LARGER_CONTEXT, Signal.GOOD, Signal.GOOD),
    # Our own codec refused it, which says nothing about the provider; another one's dialect may have the field.
    errors.NotExpressible: Verdict(Next.FAIL_OVER, Signal.SILENT, Signal.SILENT),
    errors.CallerError: Verdict(Next.STOP, Signal.GOOD, Signal.GOOD),
    errors.CredentialRefused: Verdict(Next.FAIL_OVER, Signal.SILENT, Signal.TRIP),
    errors.ModelNotServed: Verdict(Next.FAIL_OVER, Signal.SILENT, Signal.GOOD),
    errors.RateLimited: Verdict(Next.FAIL_OVER, Signal.SILENT, Signal.GOOD),
    errors.Unreachable: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.BAD),
    errors.ConnectionDropped: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.SILENT),
    errors.ServerFailed: Verdict(Next.RETRY_ONCE, Signal.BAD, Signal.GOOD),
    errors.Overloaded: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.GOOD),
    errors.UnreadableAnswer: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.GOOD),
    errors.FirstTokenTimedOut: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.SILENT),
    errors.TotalTimedOut: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.SILENT),
    errors.StreamBroken: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.SILENT),
    # Anything else came out of an adapter unplanned: that provider failed, the next may answer.
    BaseException: Verdict(Next.FAIL_OVER, Signal.BAD, Signal.SILENT),
}


def verdict_for(error: BaseException) -> Verdict:
    """Return the row of the nearest type in the error's class hierarchy."""
    return next(_TABLE[kind] for kind in type(error).__mro__ if kind in _TABLE)
