"""Decide whether to fuse the best answers or to return the top-ranked one."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass

from blender_core.errors import ConfigurationError
from blender_core.runtime.numbers import check_number
from blender_core.text.final_answer import short_answer
from blender_core.text.program_form import program_form
from blender_core.types.prompt import Prompt
from blender_core.types.ranking import Ranking

__all__ = ["Decision", "FuseContext", "FusePolicy", "FuseWhen", "resolve_fuse_when", "unless_read_by_program"]

_CODE_FENCE = re.compile(r"^[ \t]*(```|~~~)", re.MULTILINE)
_CODE_LINE = re.compile(
    r"^\s*(def \w+\(|class \w+[:(]|import \w+|from \w+ import |#include\b|public \w+ |function \w+\(|SELECT .+ FROM )"
)


@dataclass(frozen=True, slots=True)
class FuseContext:
    """Holds the input of a fuse policy.

    Attributes:
        prompt: The prompt; ``prompt.text`` is one text.
        candidates: The top-k answers, best first, without duplicates, refusals and answers more flawed than the best.
        ranking: The ranking over all answers.
        agreement: Share of all ranked answers whose text is the best answer's, in [0, 1]. The best counts too.
        ahead: Probability, by the member prior, that the member of the best answer beats each single other member among
            ``candidates``; ``None`` without a prior that knows.
        ahead_of_fuser: Probability, by the member prior, that it beats the member that would fuse. ``None`` without a
            prior that knows, if it would fuse itself, or if the fuser is no member.
    """

    prompt: Prompt
    candidates: tuple[str, ...]
    ranking: Ranking
    agreement: float = 0.0
    ahead: float | None = None
    ahead_of_fuser: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """Says whether to fuse, and why.

    Attributes:
        fuse: Whether to fuse; else the top-ranked answer is returned.
        reason: The reason, shown in the result.
    """

    fuse: bool
    reason: str


@dataclass(frozen=True, slots=True)
class FusePolicy:
    """Fuses unless one of its rules applies.

    Answers with tool calls and refusals are never fused, under any policy. Neither is anything if the member prior says
    that the fuser is weaker than the member of the best answer: its text would lose to that answer.

    Attributes:
        clear_winner: Do not fuse if the ranker's confidence in the first is at least this. It lies in [0.5, 1], so
            a value above 1 switches the rule off.
        far_ahead: Do not fuse if the member prior gives the member of the best answer at least this probability to beat
            each other one. At the default it wins twice as often as it loses; above 1 switches the rule off.
        majority: Do not fuse if more than this share of the answers equal the best; 1 switches the rule off.
        fuse_code: Fuse if the best answer contains code.
        fuse_forms: Fuse answers in a form that a program reads: JSON, ``Key: value``, lists of equal lines, ...
            (``docs/fusers.md`` has all).
        fuse_short: Fuse if the best answer is a number, a letter or a few words. It helps only if the fuser knows
            more than the members.

    Examples:
        >>> ranking = Ranking.from_scores([2.0, 1.9], ranker="example")
        >>> FusePolicy()(FuseContext(Prompt.of("Q"), ('{"a": 1}', '{"a": 2}'), ranking)).reason
        'the best answer is JSON'
    """

    clear_winner: float = 0.9
    far_ahead: float = 2 / 3
    majority: float = 0.5
    fuse_code: bool = False
    fuse_forms: bool = False
    fuse_short: bool = False

    def __post_init__(self) -> None:
        # above 1 switches a rule off
        check_number("clear_winner", self.clear_winner, least=0.5, finite=False)
        check_number("far_ahead", self.far_ahead, least=0, finite=False)
        check_number("majority", self.majority, least=0, finite=False)

    def __call__(self, context: FuseContext) -> Decision:
        """Decide for one call.

        Args:
            context: The prompt, the best answers and the ranking.

        Returns:
            The decision.
        """
        best = context.candidates[0]
        if context.ranking.confidence >= self.clear_winner:
            return Decision(False, f"a clear winner (confidence {context.ranking.confidence:.2f})")
        if context.ahead is not None and context.ahead >= self.far_ahead:
            return Decision(False, f"the winner's member is far ahead (probability {context.ahead:.2f})")
        if context.ahead_of_fuser is not None and context.ahead_of_fuser > 0.5:
            return Decision(False, f"the fuser is weaker than the winner (probability {context.ahead_of_fuser:.2f})")
        if context.agreement > self.majority:
            return Decision(False, f"{context.agreement:.0%} of the answers are the same")
        if not self.fuse_forms and (form := _form(context)) is not None:
            return Decision(False, f"the best answer is {form}")
        if not self.fuse_code and _holds_code(best):
            return Decision(False, "the best answer holds code")
        if not self.fuse_short and short_answer(best) is not None:
            return Decision(False, "the best answer is short")
        return Decision(True, f"no clear winner (confidence {context.ranking.confidence:.2f})")


FuseWhen = str | Callable[[FuseContext], Decision | bool]


def resolve_fuse_when(fuse_when: FuseWhen) -> Callable[[FuseContext], Decision]:
    """Make the function that decides from a ``fuse_when`` setting.

    Args:
        fuse_when: ``"auto"`` (a default ``FusePolicy``), ``"always"``, ``"never"``, or a function from a
            ``FuseContext`` to a ``Decision`` or a bool.

    Returns:
        A function that decides.

    Raises:
        ConfigurationError: The setting is none of these; the message lists them.
    """
    if callable(fuse_when):
        decide = fuse_when

        def call(context: FuseContext) -> Decision:
            return _decision(decide(context))

        return call
    if fuse_when == "auto":
        return FusePolicy()
    if fuse_when == "always":
        return lambda _context: Decision(True, 'fuse_when="always"')
    if fuse_when == "never":
        return lambda _context: Decision(False, 'fuse_when="never"')
    raise ConfigurationError(
        f'fuse_when is {fuse_when!r}; use "auto", "always", "never", a FusePolicy or a function of a FuseContext'
    )


def _decision(returned: object) -> Decision:
    if isinstance(returned, Decision) and isinstance(returned.reason, str):
        return Decision(bool(returned.fuse), returned.reason)
    # numpy has a bool of its own
    if isinstance(returned, bool) or type(returned).__name__ in ("bool", "bool_"):
        return Decision(bool(returned), "fuse_when said so")
    if inspect.iscoroutine(returned):
        returned.close()
    raise TypeError(f"it returned {returned!r:.80}; return a Decision with a reason, True or False")


def unless_read_by_program(fuse_when: FuseWhen) -> Callable[[FuseContext], Decision]:
    """Make the fuse policy of a framework's LLM: answers in a form that a program reads are picked.

    Frameworks ask plain prompts for JSON, query lists or verdicts, and parse the answer. A fused text would lose that
    form. Such answers are picked under every policy but a ``FusePolicy`` with ``fuse_forms``.

    Args:
        fuse_when: The policy for all other answers.

    Returns:
        A function that decides.

    Raises:
        ConfigurationError: ``fuse_when`` is no policy; the message lists them.
    """
    decide = resolve_fuse_when(fuse_when)
    if isinstance(fuse_when, FusePolicy) and fuse_when.fuse_forms:
        return decide

    def call(context: FuseContext) -> Decision:
        form = _form(context)
        if form is not None:
            return Decision(False, f"the best answer is {form}, which is picked and never fused")
        return decide(context)

    return call


def _form(context: FuseContext) -> str | None:
    turns = context.prompt.messages
    asked = [turn.content for turn in turns if turn.role == "user"][-1:]
    request = "\n".join([*(turn.content for turn in turns if turn.role == "system"), *asked])
    return program_form(request, context.candidates)


def _holds_code(text: str) -> bool:
    return _CODE_FENCE.search(text) is not None or any(_CODE_LINE.match(line) for line in text.splitlines()[:3])
