"""Define the events of a call; progress bars and adapters read this one stream.

```
MemberStarted ─ MemberRetrying* ─ MemberAnswered | MemberFailed      once for each member, interleaved
Judging*                                                             only if LLMs judge, one more for each reply
Ranked                                                               from here the best candidate is known
FusionStarted ─ (Thought | Token)* ─ FusionRejected?                 only if answers are fused
Thought? ─ Token*                                                    the picked answer, if they are not
Finished                                                             last, exactly once
```
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from blender_core.types.outcome import MemberOutcome
from blender_core.types.ranking import Ranking

if TYPE_CHECKING:
    from blender_core.types.result import BlendResult

__all__ = [
    "BlendEvent",
    "Finished",
    "FusionRejected",
    "FusionStarted",
    "Judging",
    "MemberAnswered",
    "MemberFailed",
    "MemberRetrying",
    "MemberStarted",
    "Ranked",
    "Thought",
    "Token",
]


@dataclass(frozen=True, slots=True)
class MemberStarted:
    """Reports the first call of a member.

    Attributes:
        member: Its name.
        index: Its position in the ensemble, from 0.
    """

    member: str
    index: int


@dataclass(frozen=True, slots=True)
class MemberRetrying:
    """Reports that a call failed with a transient error and is retried after a wait.

    Attributes:
        member: Its name.
        index: Its position in the ensemble, from 0.
        attempt: Calls made so far.
        wait_s: Seconds until the next call.
        reason: The error as text.
    """

    member: str
    index: int
    attempt: int
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class MemberAnswered:
    """Reports that a member answered.

    Attributes:
        outcome: Its record, with the answer.
    """

    outcome: MemberOutcome


@dataclass(frozen=True, slots=True)
class MemberFailed:
    """Reports that a member ended without an answer, or is skipped. One that is skipped may still be asked later.

    Attributes:
        outcome: Its record, with the reason.
    """

    outcome: MemberOutcome


@dataclass(frozen=True, slots=True)
class Judging:
    """Reports how far the LLMs are that judge the answers; the first one comes before they are asked.

    Attributes:
        ranker: Name of the ranker that asks them.
        done: Calls that have ended.
        calls: Calls in all.
        judge: Name of the LLM whose call ended; ``None`` in the first report.
        problem: Why its call failed; ``None`` if it answered.
    """

    ranker: str
    done: int
    calls: int
    judge: str | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """Reports the ranking; the best answer can be shown during fusion.

    Attributes:
        ranking: The ranking of the answers, in the order of ``members``.
        members: Names of the members that answered.
        best_text: The top-ranked answer.
        best_member: Name of the member that wrote it.
    """

    ranking: Ranking
    members: tuple[str, ...]
    best_text: str
    best_member: str


@dataclass(frozen=True, slots=True)
class FusionStarted:
    """Reports that fusion of the best answers starts.

    Attributes:
        fuser: Name of the fuser.
        members: Names of the members whose answers are fused, best first.
    """

    fuser: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Thought:
    """Carries a piece of what the model thinks before it writes the final text.

    Attributes:
        text: The piece; it is no part of ``BlendResult.text``.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Token:
    """Carries a piece of the final text.

    Attributes:
        text: The piece. All pieces since the last ``FusionRejected`` add up to ``BlendResult.text``.
    """

    text: str


@dataclass(frozen=True, slots=True)
class FusionRejected:
    """Reports a failed or refused fusion; the top-ranked answer follows as ``Token``.

    ``BlendResult.degraded`` says that it failed, ``BlendResult.fusion_refused`` that its text was refused.

    Attributes:
        reason: The reason.
        streamed: Characters of the rejected text that were already sent as ``Token``.
    """

    reason: str
    streamed: int


@dataclass(frozen=True, slots=True)
class Finished:
    """Carries the result; the call is over.

    Attributes:
        result: The result.
    """

    result: BlendResult


BlendEvent = (
    MemberStarted
    | MemberRetrying
    | MemberAnswered
    | MemberFailed
    | Judging
    | Ranked
    | FusionStarted
    | Thought
    | Token
    | FusionRejected
    | Finished
)
