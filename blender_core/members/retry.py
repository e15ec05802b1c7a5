"""Decide what follows a failed call: another try after a wait, or the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from blender_core.members.classify import Failure, classify
from blender_core.runtime.numbers import check_number

__all__ = ["Retry", "RetryPolicy", "after_failure"]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Decides how often a member, or a ranker behind HTTP, is asked again, and after which wait.

    Only errors that may pass are retried: rate limits, connection errors, a
    provider's 5xx errors and timeouts. A retry whose wait is longer than the time left does not happen.

    Attributes:
        retries: Further calls after the first; 0 switches retries off.
        first_wait_s: Seconds before the first retry; doubles with each retry.
        max_wait_s: Longest wait in seconds. A provider's ``Retry-After`` may be longer, and is obeyed.
        jitter: Random share of the wait, in [0, 1]: the wait is drawn from ``wait * (1 +- jitter)``.

    Examples:
        >>> RetryPolicy(jitter=0).wait_s(2, None, random.Random(0))
        1.0
    """

    retries: int = 2
    first_wait_s: float = 0.5
    max_wait_s: float = 8.0
    jitter: float = 0.5

    def __post_init__(self) -> None:
        check_number("retries", self.retries, least=0, whole=True)
        check_number("first_wait_s", self.first_wait_s, least=0)
        check_number("max_wait_s", self.max_wait_s, least=0, finite=False)
        check_number("jitter", self.jitter, least=0, most=1)

    def wait_s(self, attempt: int, retry_after: float | None, rng: random.Random) -> float:
        """Return the seconds to wait after a call.

        Args:
            attempt: Calls made so far, at least 1.
            retry_after: Seconds that the provider asked for, or ``None``; the wait is never shorter.
            rng: Source of the jitter.

        Returns:
            Seconds.
        """
        wait: float = min(self.first_wait_s * 2 ** (attempt - 1), self.max_wait_s)
        wait *= 1 + self.jitter * rng.uniform(-1, 1)
        return max(wait, retry_after or 0.0)


@dataclass(frozen=True, slots=True)
class Retry:
    """Says what follows a failed call.

    Attributes:
        failure: The failure.
        wait_s: Seconds to wait before the next try; ``None`` if there is none.
    """

    failure: Failure
    wait_s: float | None = None


def after_failure(
    error: BaseException, policy: RetryPolicy, *, attempts: int, left_s: float, rng: random.Random
) -> Retry:
    """Decide whether a failed call is repeated.

    Args:
        error: The exception.
        policy: The retry policy.
        attempts: Calls made so far, at least 1.
        left_s: Seconds left; a wait has to be shorter.
        rng: Source of the jitter.

    Returns:
        The failure, and the wait before the next try.

    Examples:
        >>> policy = RetryPolicy(retries=1, jitter=0)
        >>> reset = ConnectionResetError("gone")
        >>> after_failure(reset, policy, attempts=1, left_s=9.0, rng=random.Random(0)).wait_s
        0.5
        >>> after_failure(reset, policy, attempts=2, left_s=9.0, rng=random.Random(0)).wait_s is None
        True
    """
    failure = classify(error)
    if not failure.retryable or attempts > policy.retries:
        return Retry(failure)
    wait = policy.wait_s(attempts, failure.retry_after, rng)
    if wait >= left_s:
        said = f"{failure.reason} (no retry: a wait of {wait:.1f} s does not fit the {left_s:.1f} s left)"
        return Retry(replace(failure, reason=said))
    return Retry(failure, wait)
