"""Set limits for gathering: time, tokens, cost."""

from __future__ import annotations

from dataclasses import dataclass, field

from blender_core.members.retry import RetryPolicy
from blender_core.runtime.numbers import check_number

__all__ = ["Budget", "GatherPolicy", "RetryPolicy"]


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
        check_number("max_tokens", self.max_tokens, least=1, whole=True, none="no limit")
        check_number("max_cost", self.max_cost, above=0, none="no limit")


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
        check_number("timeout", self.timeout, above=0, finite=False, none="no limit")
        check_number("quorum", self.quorum, least=1, whole=True)
        check_number("straggler_grace", self.straggler_grace, least=0, finite=False, none="waiting for all")
        check_number("enough", self.enough, least=1, whole=True, none="the quorum")
        check_number("max_concurrency", self.max_concurrency, least=1, whole=True, none="no limit")

    @property
    def enough_answers(self) -> int:
        """Answers after which the other members have only the grace left."""
        return max(self.quorum, self.enough or self.quorum)
