"""Draw a chaos schedule from a seed: who answers when and how, the settings, and how each call is ended."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from faults.parts import FUSER_FAULTS, FUSER_FORMS, MEMBER_FAULTS, RANKER_FAULTS, Act

__all__ = ["CallPlan", "MemberPlan", "Schedule"]

_TEXTS = (
    "The capital of France is Paris, on the Seine.",
    "Paris is the capital of France and its largest city by far.",
    "It is Paris.",
    "Lyon is sometimes named, but the seat of government is Paris.",
    "One would say Paris, since parliament and president are there.",
    "Berlin, of course, is the capital of another country, so Paris it is.",
)
# faults of a function that the caller gave: an error of any kind
_JUDGEMENT_FAULTS = ("wrong", "reset", "mute", "own timeout")


@dataclass(frozen=True, slots=True)
class MemberPlan:
    """Plans one member.

    Attributes:
        acts: What it does, one a call; the last repeats.
        blocking: Whether it answers in a thread.
    """

    acts: tuple[Act, ...]
    blocking: bool


@dataclass(frozen=True, slots=True)
class CallPlan:
    """Plans one call.

    Attributes:
        mode: ``"whole"`` or ``"stream"``.
        starts_at: Virtual seconds from the beginning.
        ends: ``"itself"``, ``"cancel at turn"``, ``"cancel at time"`` or ``"close"``.
        after: Turns of the loop, seconds, or events until it is ended.
        dawdles: Virtual seconds that the consumer of a stream takes for each event.
    """

    mode: str
    starts_at: float = 0.0
    ends: str = "itself"
    after: float = 0.0
    dawdles: float = 0.0


@dataclass(frozen=True, slots=True)
class Schedule:
    """Holds all that one seed decides.

    Attributes:
        seed: The seed.
        members: The members.
        ranker: A ranker's name, or what a planned one does.
        ranker_close: Whether the planned ranker is unsure.
        fuser: ``None``, ``"llm"``, or the form of a planned one.
        fuser_acts: What the planned fuser does.
        prior: ``None``, ``"learning"``, ``"declared"``, or what a planned one does.
        accept: What the check of answers does; ``None`` without one.
        fuse_when: What the policy does.
        guard: What the guard does.
        settings: Timeout, deadline, quorum, retries, slots, budget, grace.
        calls: The calls.
    """

    seed: int
    members: tuple[MemberPlan, ...]
    ranker: str | Act
    ranker_close: bool
    fuser: str | None
    fuser_acts: tuple[Act, ...]
    prior: str | Act | None
    accept: Act | None
    fuse_when: Act
    guard: Act
    settings: dict[str, Any]
    calls: tuple[CallPlan, ...]

    @classmethod
    def of(cls, seed: int) -> Schedule:
        """Draw the schedule of a seed; the same seed draws the same one."""
        return _Draw(seed).schedule()

    @property
    def kinds(self) -> frozenset[str]:
        """What the schedule holds, as words that a table counts."""
        acts = [act for member in self.members for act in member.acts]
        others = [act for act in (self.ranker, self.prior, *self.fuser_acts) if isinstance(act, Act)]
        settings = self.settings
        found = {
            "stubborn": any(act.swallows for act in (*acts, *others)),
            "deaf": any(act.swallows < 0 for act in (*acts, *others)),
            "hanging": any(act.seconds is None for act in (*acts, *others)),
            "slots": settings["slots"] is not None,
            "deadline": settings["deadline"] is not None,
            "prior": self.prior is not None,
            "judges": self.ranker == "peers" or str(self.ranker).startswith("judge:"),
            "stream": any(call.mode == "stream" for call in self.calls),
            "ended by the caller": any(call.ends != "itself" for call in self.calls),
            "several calls": len(self.calls) > 1,
            "budget": settings["max_tokens"] is not None,
            "retries": settings["retries"] > 0,
            "threads": any(member.blocking for member in self.members),
            "slow judgement": any(act is not None and act.seconds for act in (self.accept, self.fuse_when, self.guard)),
        }
        return frozenset(kind for kind, holds in found.items() if holds)


class _Draw:
    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(seed)
        # without any limit of time, nothing may hang: then no promise says that a call ends
        self._deadline = self._maybe(0.6, self._one_of(0.3, 2.0, 2.0, 5.0, 10.0))
        self._timeout = self._maybe(0.8, self._one_of(0.2, 1.5, 3.0, 3.0, 30.0))

    def schedule(self) -> Schedule:
        members = tuple(self._member() for _ in range(self._one_of(2, 3, 3, 4, 4, 5, 6) if self._chance(0.95) else 1))
        fuser = self._one_of(None, *["llm"] * 5, *FUSER_FORMS, *FUSER_FORMS)
        limited = self._deadline is not None or self._timeout is not None
        return Schedule(
            self._seed,
            members,
            ranker=self._ranker(len(members)),
            ranker_close=self._chance(0.8),
            fuser=fuser,
            fuser_acts=tuple(self._act(FUSER_FAULTS, 0.35, hang=limited) for _ in range(2)),
            prior=self._one_of(None, None, "learning", "declared", self._judgement(0.5)),
            accept=self._one_of(None, None, None, self._judgement(0.3)),
            fuse_when=self._judgement(0.1) if self._chance(0.2) else Act(),
            guard=self._judgement(0.1) if self._chance(0.2) else Act(),
            settings=self._settings(len(members)),
            calls=tuple(self._call() for _ in range(self._one_of(1, 1, 2, 3))),
        )

    def _settings(self, members: int) -> dict[str, Any]:
        return {
            "timeout": self._timeout,
            "deadline": self._deadline,
            "quorum": self._one_of(1, 1, 1, 1, 1, min(2, members)) if self._chance(0.9) else members,
            "retries": self._one_of(0, 0, 1, 3),
            "slots": self._one_of(None, None, 1, 2, 3),
            "shared_slots": self._chance(0.5),
            "grace": self._one_of(None, None, None, None, 0.0, 0.5),
            "max_tokens": self._one_of(None, None, None, None, None, 60, 150, 1000, 1000),
            "top_k": self._one_of(2, 3, 3, 5) if self._chance(0.95) else 1,
        }

    def _member(self) -> MemberPlan:
        limited = self._deadline is not None or self._timeout is not None
        hopeless = self._chance(0.08)
        acts = tuple(self._act(MEMBER_FAULTS, 0.8 if hopeless else 0.1, hang=limited) for _ in range(3))
        return MemberPlan(acts, blocking=self._chance(0.2))

    def _act(self, faults: Sequence[str], share: float, *, hang: bool) -> Act:
        what = self._one_of(*faults) if self._chance(share) else "answer"
        seconds: float | None = self._one_of(0.0, 0.0, 0.01, 0.05, 0.1, 0.1, 0.2, 0.4, 0.9, 2.0)
        if hang and self._chance(0.05):
            seconds = None
        swallows = self._one_of(1, 2, -1) if self._chance(0.15) else 0
        return Act(what, seconds, swallows, " ".join(self._rng.sample(_TEXTS, self._one_of(1, 1, 2, 4))))

    def _ranker(self, members: int) -> str | Act:
        named = self._one_of("consensus", "longest", "peers", "judge:m0", None, None, None)
        if named is not None:
            return str(named) if named != "peers" or members > 2 else "consensus"
        what = self._one_of(*RANKER_FAULTS) if self._chance(0.3) else "answer"
        # no time limit but the deadline ends a ranker
        seconds = None if self._deadline is not None and self._chance(0.15) else self._one_of(0.0, 0.0, 0.05, 0.4, 3.0)
        return Act(what, seconds)

    def _judgement(self, share: float) -> Act:
        what = self._one_of(*_JUDGEMENT_FAULTS) if self._chance(share) else "answer"
        return Act(what, self._one_of(0.0, 0.0, 0.0, 0.02, 0.5, 4.0))

    def _call(self) -> CallPlan:
        mode = self._one_of("whole", "stream")
        ends = self._one_of(*["itself"] * 5, "cancel at turn", "cancel at time")
        if mode == "stream" and self._chance(0.15):
            ends = "close"
        after: float = {
            "itself": 0.0,
            "cancel at turn": self._rng.randrange(1, self._one_of(8, 40, 80, 150)),
            "cancel at time": round(self._rng.uniform(0.0, self._one_of(1.0, 5.0)), 3),
            "close": self._rng.randrange(1, 12),
        }[ends]
        dawdles = 0.05 if mode == "stream" and self._chance(0.1) else 0.0
        return CallPlan(mode, self._one_of(0.0, 0.0, 0.01, 0.5), ends, after, dawdles)

    def _one_of(self, *choices: Any) -> Any:
        return choices[self._rng.randrange(len(choices))]

    def _chance(self, share: float) -> bool:
        return self._rng.random() < share

    def _maybe(self, share: float, value: Any) -> Any:
        return value if self._chance(share) else None
