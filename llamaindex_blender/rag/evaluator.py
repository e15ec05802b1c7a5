"""Compare two responses by a ranker, in both orders."""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from llama_index.core.evaluation import BaseEvaluator, EvaluationResult
from llama_index.core.evaluation.pairwise import EvaluationSource
from llama_index.core.prompts import BasePromptTemplate, PromptTemplate
from llama_index.core.prompts.mixin import PromptDictType

from blender_core.errors import ConfigurationError
from blender_core.rank.asking import asking_for, asking_now
from blender_core.rank.protocol import Ranker
from blender_core.rank.registry import check_ranker, resolve_ranker
from blender_core.runtime.threads import call_in_thread
from blender_core.types.answer import Usage
from blender_core.types.ranking import Ranking

__all__ = ["BothOrders", "PairRankerEvaluator", "compare_both_orders"]

_WITH_REFERENCE = "{query}\n\nReference answer:\n{reference}"


class PairRankerEvaluator(BaseEvaluator):
    """Compares a response with a second one, like core's ``PairwiseComparisonEvaluator``.

    In a result ``score`` is 1 and ``passing`` true if the response is better. They are 0 and false if the second one
    is better, 0.5 and ``None`` for a tie. If the two orders disagree, it is a tie. ``feedback`` has the logits, and
    the tokens that a judge used.
    ``pairwise_source`` is the order that decided: ``"original"`` (the response shown first), ``"flipped"``, or
    ``"neither"`` if they disagree.

    Args:
        ranker: ``"embedded"`` (default), another ranker or its name, such as a PairRanker checkpoint or an
            ``LLMJudge``.
        enforce_consensus: Compare in both orders (default). Else the response is always shown first, with the
            ranker's position bias.
        tie_margin: A logit within this distance of 0 is a tie (default 0).
        eval_template: The ranker's prompt if there is a reference, with ``{query}`` and ``{reference}``. Without a
            reference the ranker reads the query alone.

    Raises:
        ConfigurationError: A setting cannot work; the message says which values can.

    Examples:
        >>> result = PairRankerEvaluator(ranker="longest").evaluate(
        ...     query="Capital of France?", response="It is Paris.", second_response="Rome"
        ... )
        >>> result.score, result.passing, result.feedback
        (1.0, True, 'the response is better: logit +8 shown first, +8 shown second; the orders agree')
    """

    def __init__(
        self,
        ranker: Ranker | str | os.PathLike[str] = "embedded",
        *,
        enforce_consensus: bool = True,
        tie_margin: float = 0.0,
        eval_template: BasePromptTemplate | str = _WITH_REFERENCE,
    ) -> None:
        check_ranker(ranker)
        if not tie_margin >= 0:
            raise ConfigurationError(f"tie_margin is {tie_margin}; it must be 0 or more")
        self._ranker = ranker
        self._enforce_consensus = enforce_consensus
        self._tie_margin = tie_margin
        self._eval_template = PromptTemplate(eval_template) if isinstance(eval_template, str) else eval_template

    def _get_prompts(self) -> PromptDictType:
        return {"eval_template": self._eval_template}

    def _update_prompts(self, prompts: PromptDictType) -> None:
        self._eval_template = prompts.get("eval_template", self._eval_template)

    async def aevaluate(
        self,
        query: str | None = None,
        response: str | None = None,
        contexts: Sequence[str] | None = None,
        second_response: str | None = None,
        reference: str | None = None,
        sleep_time_in_seconds: float = 0,
        **kwargs: Any,
    ) -> EvaluationResult:
        """Compare two responses; the ranker runs in a thread.

        Args:
            query: The query.
            response: A response.
            contexts: Copied to the result; the ranker does not read them.
            second_response: The response to compare with.
            reference: A reference answer, or ``None``.
            sleep_time_in_seconds: Seconds to wait first.
            **kwargs: Not used; core's evaluators have them.

        Returns:
            The result; the class describes it.

        Raises:
            ConfigurationError: Query, response or second response is missing; the message names it.
            RankerError: The ranker failed.
        """
        if query is None or response is None or second_response is None:
            missing = [
                name
                for name, value in (("query", query), ("response", response), ("second_response", second_response))
                if value is None
            ]
            raise ConfigurationError(f"{', '.join(missing)} must be given: two responses to one query are compared")
        await asyncio.sleep(sleep_time_in_seconds)
        prompt = self._eval_template.format(query=query, reference=reference) if reference else query
        asking = asking_now()
        before = asking.tally.usage or Usage()
        with asking_for(asking):
            both = await call_in_thread(
                lambda: compare_both_orders(resolve_ranker(self._ranker), prompt, response, second_response)
            )
        used = (asking.tally.usage or Usage()).total_tokens - before.total_tokens
        score, source = self._decision(both)
        return EvaluationResult(
            query=query,
            contexts=contexts,
            response=response,
            passing=None if score == 0.5 else score == 1.0,
            score=score,
            feedback=self._feedback(both, score) + (f"; the judge used {used} tokens" if used else ""),
            pairwise_source=source.value,
        )

    def _decision(self, both: BothOrders) -> tuple[float, EvaluationSource]:
        """Count one vote for each order, and half a vote for both sides of a tie, as core does."""
        original = self._vote(both.first_left)
        if not self._enforce_consensus:
            return original, EvaluationSource.ORIGINAL
        flipped = self._vote(both.second_left)
        if original == flipped or flipped == 0.5:
            return original, EvaluationSource.ORIGINAL
        if original == 0.5:
            return flipped, EvaluationSource.FLIPPED
        return 0.5, EvaluationSource.NEITHER

    def _vote(self, logit: float) -> float:
        if abs(logit) <= self._tie_margin:
            return 0.5
        return 1.0 if logit > 0 else 0.0

    def _feedback(self, both: BothOrders, score: float) -> str:
        better = {1.0: "the response is better", 0.0: "the second response is better"}.get(score, "a tie")
        if not self._enforce_consensus:
            return f"{better}: logit {both.first_left:+.4g} shown first; the other order was not looked at"
        agreement = "disagree" if self._vote(both.first_left) != self._vote(both.second_left) else "agree"
        return (
            f"{better}: logit {both.first_left:+.4g} shown first, {both.second_left:+.4g} shown second; "
            f"the orders {agreement}"
        )


@runtime_checkable
class _ComparesOrdered(Protocol):
    def ordered_logits(self, prompt: str, candidates: list[str], /) -> tuple[tuple[float, ...], ...]: ...


@dataclass(frozen=True, slots=True)
class BothOrders:
    """The logit that the first answer is better, from each order.

    Attributes:
        first_left: With the first answer shown first.
        second_left: With the second answer shown first.

    Examples:
        >>> both = BothOrders(first_left=2.0, second_left=-1.0)
        >>> both.disagree, both.mean
        (True, 0.5)
    """

    first_left: float
    second_left: float

    @property
    def disagree(self) -> bool:
        """Whether each order finds another answer better."""
        return self.first_left * self.second_left < 0

    @property
    def mean(self) -> float:
        """The mean of both, which has no position bias."""
        # the sum of infinities is one, or nan
        return (self.first_left + self.second_left) / 2


def compare_both_orders(ranker: Ranker, prompt: str, first: str, second: str) -> BothOrders:
    """Compare two answers in both orders.

    Args:
        ranker: Any ranker. Of ``PairRanker`` and ``LLMJudge`` the raw logit of each order is taken, two forward
            passes or calls; any other ranker ranks twice, its comparison or its difference of scores is the logit.
        prompt: The prompt.
        first: An answer.
        second: Another one.

    Returns:
        The logits, 0 for copies of one text; a blank loses by an infinite one.

    Raises:
        RankerError: The ranker failed.

    Examples:
        >>> from blender_core.rank.baselines import LongestRanker
        >>> compare_both_orders(LongestRanker(), "Which?", "a longer answer", "short").disagree
        False
    """
    blanks = (not first.strip(), not second.strip())
    if first.strip() == second.strip():
        return BothOrders(0.0, 0.0)
    if any(blanks):
        logit = -math.inf if blanks[0] else math.inf
        return BothOrders(logit, logit)
    if isinstance(ranker, _ComparesOrdered):
        (_, forward), (backward, _) = ranker.ordered_logits(prompt, [first, second])
        return BothOrders(forward, -backward)
    return BothOrders(_logit(ranker.rank(prompt, [first, second])), -_logit(ranker.rank(prompt, [second, first])))


def _logit(ranking: Ranking) -> float:
    if ranking.comparisons is not None and not math.isnan(ranking.comparisons[0][1]):
        return ranking.comparisons[0][1]
    first, second = ranking.scores
    return 0.0 if first == second else first - second
