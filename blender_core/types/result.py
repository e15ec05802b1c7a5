"""Define the result of one call: text, winner, members' records, times, usage."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from blender_core.types.answer import Answer, Usage
from blender_core.types.outcome import MemberOutcome, Status
from blender_core.types.ranking import Ranking

__all__ = ["BlendResult", "CandidateRecord", "Timings"]


@dataclass(frozen=True, slots=True)
class Timings:
    """Holds wall-clock seconds by stage, on a monotonic clock.

    Attributes:
        gather: Asking the members.
        rank: Ranking their answers.
        fuse: Fusing the best; 0.0 if nothing was fused.
        total: The whole call.
    """

    gather: float
    rank: float
    fuse: float
    total: float

    def to_dict(self) -> dict[str, float]:
        """Turn the seconds into a dictionary by stage."""
        return {"gather": self.gather, "rank": self.rank, "fuse": self.fuse, "total": self.total}


@dataclass(frozen=True, slots=True)
class CandidateRecord:
    """Holds one member's part in a call; properties are named as the keys of ``to_dict``.

    Attributes:
        outcome: How the member ended.
        score: The ranker's score of its answer, higher is better; ``None`` without one.
        rank: Its rank, 1 is best, ``None`` if it was not ranked.
        fused: Whether its answer went into the fused text.
        invalid: Why the answer cannot be used: it misses a schema, or lost a vote on tool calls. It has a rank only if
            no answer can be used.
        flaw: What is wrong with the answer, whatever it says: ``"cut off"``, ``"repeats itself"``, or its language.
            Flawed answers rank last. ``None`` if nothing was found.
        evidence: What each part of the ranking said about the answer, as log-odds: the ranker or its parts, and
            ``"prior"`` for the member's strength. Empty if it was not ranked.
    """

    outcome: MemberOutcome
    score: float | None = None
    rank: int | None = None
    fused: bool = False
    invalid: str | None = None
    flaw: str | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The member's name."""
        return self.outcome.member

    @property
    def text(self) -> str | None:
        """The answer's text, ``None`` if the member did not answer."""
        return None if self.outcome.answer is None else self.outcome.answer.text

    @property
    def status(self) -> Status:
        """How the member ended."""
        return self.outcome.status

    @property
    def reason(self) -> str | None:
        """The reason of a failure; ``None`` without one."""
        return self.outcome.reason

    @property
    def attempts(self) -> int:
        """Calls made, retries included."""
        return self.outcome.attempts

    @property
    def cost(self) -> float | None:
        """Cost of its answer; ``None`` if it is unknown."""
        return self.outcome.cost

    @property
    def latency_s(self) -> float:
        """Seconds from the member's start to its end."""
        return self.outcome.latency_s

    def to_dict(self) -> dict[str, Any]:
        """Turn the record into plain JSON types; ``None`` means unknown."""
        outcome, answer = self.outcome, self.outcome.answer
        return {
            "model": outcome.member,
            "served_by": None if answer is None else answer.model,
            "text": self.text,
            "status": outcome.status.value,
            "reason": outcome.reason,
            "instead_of": outcome.instead_of,
            "score": self.score if self.score is None or math.isfinite(self.score) else None,
            "rank": self.rank,
            "fused": self.fused,
            "invalid": self.invalid,
            "flaw": self.flaw,
            "evidence": dict(self.evidence),
            "latency_s": round(outcome.latency_s, 4),
            "attempts": outcome.attempts,
            "usage": None if outcome.usage is None else outcome.usage.to_dict(),
            "cost": outcome.cost,
            "finish_reason": None if answer is None else answer.finish_reason,
            "tool_calls": []
            if answer is None
            else [{"name": call.name, "arguments": dict(call.arguments), "id": call.id} for call in answer.tool_calls],
        }


@dataclass(frozen=True, slots=True)
class BlendResult:
    """Holds the result of one call of the blend.

    Attributes:
        text: The final text.
        answer: The answer that is returned verbatim; ``None`` if the text is fused.
        winner: Name of the member whose answer ranked first.
        winner_index: Its position in the ensemble, from 0.
        candidates: One record per member, in the ensemble's order, then one per reserve that took a place.
        ranking: The ranking over the members that answered and were not excluded; ``None`` with a single one
            or a vote on tool calls.
        fused: Names of the members whose answers were fused, best first; empty if nothing was fused.
        decision: Whether it was fused or picked, and why.
        degraded: Faults of the call; empty if there were none. Failed members alone do not degrade a result.
        timings: Seconds by stage.
        usage: Tokens of all calls that reported them.
        usage_known: Whether every call that was started reported its usage.
        cost: Sum of all known costs, ``None`` if none is known.
        cost_known: Whether ``cost`` is the whole: the cost of every call that was started is known.
        fuser: Name of the fuser that wrote the text, if it is fused.
        fuser_usage: Tokens of the fuser, also if its text was refused; ``None`` if it was not asked or did not say.
        fuser_cost: Their cost, ``None`` if it is unknown.
        ranker_usage: Tokens of the LLMs that judged: of the ranker, or of a measure of groundedness. ``None`` if none
            was asked or none reported them.
        ranker_cost: Their cost, ``None`` if it is unknown.
        cut: Tokens that did not fit a window: ``"ranker"`` or ``"fuser"`` -> candidate's member name or
            ``"prompt"`` -> tokens.
        fusion_refused: Why the best answer was kept instead of the text that the fuser wrote; ``None`` if no fusion was
            refused. It is no fault: the guard did its work.
        finish_reason: Why the final text ended, as the provider calls it; ``None`` if unknown.
        thoughts: What the model thought that wrote the final text; not in ``to_dict``.
    """

    text: str
    answer: Answer | None
    winner: str
    winner_index: int
    candidates: tuple[CandidateRecord, ...]
    ranking: Ranking | None
    fused: tuple[str, ...]
    decision: str
    degraded: tuple[str, ...]
    timings: Timings
    usage: Usage
    usage_known: bool
    cost: float | None = None
    cost_known: bool = False
    fuser: str | None = None
    cut: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    fusion_refused: str | None = None
    finish_reason: str | None = None
    thoughts: str = field(default="", repr=False)
    fuser_usage: Usage | None = None
    fuser_cost: float | None = None
    ranker_usage: Usage | None = None
    ranker_cost: float | None = None

    @property
    def confidence(self) -> float | None:
        """The ranking's: how probably the first answer is better than the second; ``None`` without a ranking."""
        return None if self.ranking is None else self.ranking.confidence

    @property
    def is_degraded(self) -> bool:
        """Whether ``degraded`` lists a problem."""
        return bool(self.degraded)

    @property
    def failed(self) -> tuple[MemberOutcome, ...]:
        """The outcomes of the members that were asked and did not answer."""
        return tuple(record.outcome for record in self.candidates if record.status not in (Status.OK, Status.SKIPPED))

    @property
    def skipped(self) -> tuple[MemberOutcome, ...]:
        """The outcomes of the members that the circuit breaker skipped."""
        return tuple(record.outcome for record in self.candidates if record.status is Status.SKIPPED)

    def to_dict(self) -> dict[str, Any]:
        """Turn the result into plain JSON types."""
        return {
            "text": self.text,
            "winner": self.winner,
            "degraded": self.is_degraded,
            "degraded_reasons": list(self.degraded),
            "fusion_refused": self.fusion_refused,
            "decision": self.decision,
            "candidates": [record.to_dict() for record in self.candidates],
            "ranking": None if self.ranking is None else self.ranking.to_dict(),
            "ranker": None if self.ranking is None else self.ranking.ranker,
            "confidence": self.confidence,
            "fused": list(self.fused),
            "fuser": self.fuser,
            "fuser_usage": None if self.fuser_usage is None else self.fuser_usage.to_dict(),
            "fuser_cost": self.fuser_cost,
            "ranker_usage": None if self.ranker_usage is None else self.ranker_usage.to_dict(),
            "ranker_cost": self.ranker_cost,
            "timings_s": {stage: round(seconds, 4) for stage, seconds in self.timings.to_dict().items()},
            "usage": self.usage.to_dict(),
            "usage_known": self.usage_known,
            "cost": self.cost,
            "cost_known": self.cost_known,
            "cut": {stage: dict(tokens) for stage, tokens in self.cut.items()},
            "finish_reason": self.finish_reason,
        }

    def __repr__(self) -> str:
        answered = sum(record.outcome.ok for record in self.candidates)
        how = f"fused from {', '.join(self.fused)}" if self.fused else f"picked from {self.winner}"
        mark = f", {len(self.skipped)} skipped" if self.skipped else ""
        mark += f", kept the best answer: {self.fusion_refused}" if self.fusion_refused else ""
        mark += f", degraded: {'; '.join(self.degraded)}" if self.degraded else ""
        text = self.text if len(self.text) <= 60 else self.text[:57] + "..."
        return (
            f"BlendResult({text!r}, {how}, {answered}/{len(self.candidates)} answered, "
            f"{self.timings.total:.2f} s{mark})"
        )

    def __rich__(self) -> Any:
        from blender_core.view.result import result_table

        return result_table(self)

    def _repr_html_(self) -> str:
        from blender_core.view.result import result_html

        return result_html(self)
