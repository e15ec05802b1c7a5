"""Set limits for gathering: time, retries, tokens, cost."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from blender_core.errors import ConfigurationError

__all__ = ["Budget", "GatherPolicy", "RetryPolicy"]


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
        _at_least("retries", self.retries, 0)
        _at_least("first_wait_s", self.first_wait_s, 0)
        _at_least("max_wait_s", self.max_wait_s, 0)
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"jitter is {self.jitter}; it is a share from 0 to 1")

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
class Budget:
    """Limits what one call of the blend may spend.

    Spending is added up when answers arrive. A running call of a member reserves its prompt, at four characters a
    token. After the limit is reached, nothing new starts: waiting members end as cancelled, and there are no retries
    and no fusion. Running calls are not stopped, so their answers can exceed the limit.

    Attributes:
        max_tokens: Most tokens read and written by all members and the fuser; ``None`` is no limit.
        max_cost: Most cost, in the currency of the members' prices; every member then needs a price. ``None`` is no
            limit.
    """

    max_tokens: int | None = None
    max_cost: float | None = None

    def __post_init__(self) -> None:
        _at_least("max_tokens", self.max_tokens, 1)
        if self.max_cost is not None and self.max_cost <= 0:
            raise ConfigurationError(f"max_cost is {self.max_cost}; it must be above 0")


@dataclass(frozen=True, slots=True)
class GatherPolicy:
    """Says how answers are gathered.

    Attributes:
        timeout: Wall-clock seconds for each member from its start, retries included; ``None`` is no limit.
        quorum: Answers needed; fewer raise ``QuorumError``.
        straggler_grace: Seconds that the other members still get once ``enough`` have answered; ``None`` waits for
            all.
        enough: Answers that start the grace; default is the quorum.
        max_concurrency: Members that run at the same time, over all calls of one blend; ``None`` is no limit.
        retry: The retry policy.
        budget: Limit of tokens or cost; ``None`` is no limit.

    Examples:
        >>> GatherPolicy(timeout=20, quorum=2, straggler_grace=1.5).enough_answers
        2
    """

    timeout: float | None = 60.0
    quorum: int = 1
    straggler_grace: float | None = None
    enough: int | None = None
    max_concurrency: int | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    budget: Budget | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not self.timeout > 0:
            raise ConfigurationError(f"timeout is {self.timeout} s; it must be above 0, or None for no limit")
        _at_least("quorum", self.quorum, 1)
        _at_least("straggler_grace", self.straggler_grace, 0)
        _at_least("enough", self.enough, 1)
        _at_least("max_concurrency", self.max_concurrency, 1)

    @property
    def enough_answers(self) -> int:
        """Answers after which the other members have only the grace left."""
        return max(self.quorum, self.enough or self.quorum)


def _at_least(name: str, value: float | None, least: float) -> None:
    # nan, too
    if value is not None and not value >= least:
        raise ConfigurationError(f"{name} is {value}; it must be at least {least}")
