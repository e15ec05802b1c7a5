"""Decide what follows a failed call: another try after a wait, or the end."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from blender_core.gather.classify import Failure, classify
from blender_core.gather.policy import RetryPolicy

__all__ = ["Retry", "after_failure"]


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
