"""Compare and rank lists of inputs, with the signatures of ``llm-blender`` 0.0.2."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from blender_core.compat.conversations import CONVERSATION_INSTRUCTION, conversation_pair
from blender_core.errors import ConfigurationError
from blender_core.rank.pair_ranker import PairRanker

__all__ = ["PairComparer", "check_candidates", "joined_prompts"]

_MODES = ("[A,B]+[B,A]", "[A,B]", "[B,A]")
_REFERENCES: Mapping[str, Callable[[Sequence[str]], str]] = {
    "first": lambda texts: texts[0],
    "last": lambda texts: texts[-1],
    "longest": lambda texts: max(texts, key=len),
    "median_length": lambda texts: sorted(texts, key=len)[len(texts) // 2],
    "shortest": lambda texts: min(texts, key=len),
}

Comparison = tuple[str, str, str]
Numbers = Any  # an array [n, c], or a list of arrays if the counts differ


class PairComparer:
    """Compares and ranks; the part of ``Blender`` that needs only a ranker.

    ``batch_size`` and ``disable_tqdm`` are accepted and change nothing: batches are made by length and no number
    depends on them. Blank and repeated candidates are compared like any other text.

    Attributes:
        ranker: The loaded ranker.
    """

    ranker: PairRanker | None = None

    def rank(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        return_scores: bool = False,
        batch_size: int = 8,
        disable_tqdm: bool = False,
        **rank_kwargs: Any,
    ) -> Numbers:
        """Rank by all comparisons in both orders.

        Args:
            inputs: n prompts.
            candidates: c candidates for each.
            instructions: Put before the inputs, without a separator.
            return_scores: Return scores instead of ranks.
            batch_size: Changes nothing.
            disable_tqdm: Changes nothing.
            **rank_kwargs: ``source_max_length`` and ``candidate_max_length`` in tokens.

        Returns:
            Ranks, int32 [n, c], 1 is best, equal scores share the lower rank. Or scores, float32 [n, c]: the mean of
            ``M[i][j] - M[j][i]`` over all candidates. A list of n arrays if the counts differ.

        Raises:
            ConfigurationError: The lists do not fit together.
            RankerError: The network gave no finite number.
        """
        prompts = joined_prompts(inputs, instructions)
        check_candidates(prompts, candidates)
        wanted = [
            (prompt, left, right)
            for prompt, texts in zip(prompts, candidates, strict=True)
            for i, left in enumerate(texts)
            for j, right in enumerate(texts)
            if i != j
        ]
        known = self.pair_logits(wanted, **rank_kwargs)
        rows = []
        for prompt, texts in zip(prompts, candidates, strict=True):
            matrix = np.zeros((len(texts), len(texts)), dtype=np.float32)
            for i, left in enumerate(texts):
                for j, right in enumerate(texts):
                    if i != j:
                        matrix[i, j] = known[prompt, left, right]
            rows.append((matrix - matrix.T).mean(axis=-1, dtype=np.float32))
        return _stacked(rows if return_scores else [_ranks(row) for row in rows])

    def rank_with_ref(
        self,
        inputs: Sequence[str],
        candidates: Sequence[Sequence[str]],
        instructions: Sequence[str] | None = None,
        return_scores: bool = False,
        batch_size: int = 8,
        ref_mode: str = "longest",
        ref_candidates: Sequence[str] | None = None,
        *,
        mode: str | None = None,
        **rank_kwargs: Any,
    ) -> Numbers:
        """Rank by the comparison with one reference for each input: 2 c forward passes.

        Args:
            inputs: n prompts.
            candidates: c candidates for each.
            instructions: Put before the inputs.
            return_scores: Return scores instead of ranks.
            batch_size: Changes nothing.
            ref_mode: Which candidate is the reference, by characters: ``"longest"``, ``"shortest"``,
                ``"median_length"``, ``"first"`` or ``"last"``.
            ref_candidates: One reference for each input; overrides ``ref_mode``.
            mode: Another name of ``ref_mode``, from the old README.
            **rank_kwargs: ``source_max_length`` and ``candidate_max_length`` in tokens.

        Returns:
            Ranks, int32 [n, c]; or scores, float64 [n, c]: both orders added, positive if a candidate beats the
            reference. The reference itself has 0.

        Raises:
            ConfigurationError: The lists do not fit together, or the mode is unknown.
            RankerError: The network gave no finite number.
        """
        prompts = joined_prompts(inputs, instructions)
        check_candidates(prompts, candidates)
        chosen = mode or ref_mode
        if chosen not in _REFERENCES:
            raise ConfigurationError(f"ref_mode {chosen!r} is unknown; choose one of {', '.join(sorted(_REFERENCES))}")
        if ref_candidates is None:
            ref_candidates = [_REFERENCES[chosen](texts) for texts in candidates]
        if len(ref_candidates) != len(prompts):
            raise ConfigurationError(
                f"{len(ref_candidates)} ref_candidates for {len(prompts)} inputs; pass one for each"
            )
        wanted = [
            (prompt, reference, text)
            for prompt, texts, reference in zip(prompts, candidates, ref_candidates, strict=True)
            for text in texts
        ]
        known = self.pair_logits([*wanted, *((p, b, a) for p, a, b in wanted)], **rank_kwargs)
        rows = [
            np.array([known[p, t, r] - known[p, r, t] for t in texts], dtype=np.float64)
            for p, texts, r in zip(prompts, candidates, ref_candidates, strict=True)
        ]
        return _stacked(rows if return_scores else [_ranks(row) for row in rows])

    def compare(
        self,
        inputs: Sequence[str],
        candidates_A: Sequence[str],
        candidates_B: Sequence[str],
        instructions: Sequence[str] | None = None,
        batch_size: int = 4,
        return_logits: bool = False,
        mode: str = "[A,B]+[B,A]",
        disable_tqdm: bool = False,
        **rank_kwargs: Any,
    ) -> Any:
        """Compare two candidates for each input.

        Args:
            inputs: n prompts.
            candidates_A: One candidate for each.
            candidates_B: Another one for each.
            instructions: Put before the inputs.
            batch_size: Changes nothing.
            return_logits: Return logits instead of booleans.
            mode: ``"[A,B]+[B,A]"``: ``logit(A,B) - logit(B,A)``, the sum over both orders. ``"[A,B]"``:
                ``logit(A,B)``. ``"[B,A]"``: ``logit(B,A)``, positive if B is better.
            disable_tqdm: Changes nothing.
            **rank_kwargs: ``source_max_length`` and ``candidate_max_length`` in tokens.

        Returns:
            Logits, float32 [n]; or whether each is above zero, bool [n].

        Raises:
            ConfigurationError: The lists do not fit together, or the mode is unknown.
            RankerError: The network gave no finite number.
        """
        if mode not in _MODES:
            raise ConfigurationError(f"mode {mode!r} is unknown; choose one of {', '.join(_MODES)}")
        prompts = joined_prompts(inputs, instructions)
        if not len(prompts) == len(candidates_A) == len(candidates_B):
            raise ConfigurationError(
                f"{len(prompts)} inputs, {len(candidates_A)} candidates_A and {len(candidates_B)} candidates_B; "
                "pass one of each for every input"
            )
        forward = list(zip(prompts, candidates_A, candidates_B, strict=True))
        backward = list(zip(prompts, candidates_B, candidates_A, strict=True))
        known = self.pair_logits([*forward * (mode != "[B,A]"), *backward * (mode != "[A,B]")], **rank_kwargs)
        both = mode == "[A,B]+[B,A]"
        one = backward if mode == "[B,A]" else forward
        margins = [known[pair] - (known[turned] if both else 0.0) for pair, turned in zip(one, backward, strict=True)]
        logits = np.array(margins, dtype=np.float32)
        return logits if return_logits else logits > 0

    def compare_conversations(
        self,
        conversations_a: Sequence[Sequence[Mapping[str, str]]],
        conversations_b: Sequence[Sequence[Mapping[str, str]]],
        batch_size: int = 4,
        return_logits: bool = False,
        mode: str = "[A,B]+[B,A]",
    ) -> Any:
        """Compare the answers of two conversations with the same user turns.

        Args:
            conversations_a: n conversations of turns with ``role`` (USER or ASSISTANT) and ``content``.
            conversations_b: n conversations.
            batch_size: Changes nothing.
            return_logits: Return logits instead of booleans.
            mode: As in ``compare``.

        Returns:
            As ``compare``.

        Raises:
            ConfigurationError: Roles do not alternate, or user turns differ.
            RankerError: The network gave no finite number.
        """
        if len(conversations_a) != len(conversations_b):
            raise ConfigurationError(
                f"{len(conversations_a)} conversations_a and {len(conversations_b)} conversations_b; "
                "pass one of each for every comparison"
            )
        pairs = [conversation_pair(a, b) for a, b in zip(conversations_a, conversations_b, strict=True)]
        return self.compare(
            [prompt for prompt, _, _ in pairs],
            [a for _, a, _ in pairs],
            [b for _, _, b in pairs],
            instructions=[CONVERSATION_INSTRUCTION] * len(pairs),
            return_logits=return_logits,
            mode=mode,
        )

    def pair_logits(self, comparisons: Sequence[Comparison], **lengths: Any) -> dict[Comparison, float]:
        """Compute the logits of comparisons; duplicates are computed once.

        Args:
            comparisons: Prompt, left and right text of each.
            **lengths: ``source_max_length`` and ``candidate_max_length``.

        Returns:
            Logit by comparison; positive if the left text is better.

        Raises:
            ConfigurationError: No ranker is loaded, or a keyword is unknown.
            RankerError: The network gave no finite number.
        """
        if self.ranker is None:
            raise ConfigurationError("no ranker is loaded; call loadranker(path) first")
        unknown = sorted(set(lengths) - {"source_max_length", "candidate_max_length"})
        if unknown:
            raise ConfigurationError(
                f"unknown keywords {', '.join(unknown)}; known are source_max_length and candidate_max_length"
            )
        distinct = list(dict.fromkeys(comparisons))
        return dict(zip(distinct, self.ranker.logits(distinct, **lengths), strict=True))


def joined_prompts(inputs: Sequence[str], instructions: Sequence[str] | None, separator: str = "") -> list[str]:
    """Join the instruction and the input of each prompt.

    Args:
        inputs: The inputs.
        instructions: One for each, or ``None``.
        separator: The text between them.

    Returns:
        The prompts.

    Raises:
        ConfigurationError: The counts differ.
    """
    if isinstance(inputs, str):
        raise ConfigurationError("inputs is one string; pass a list of strings")
    if instructions is None:
        return list(inputs)
    if len(instructions) != len(inputs):
        raise ConfigurationError(f"{len(instructions)} instructions for {len(inputs)} inputs; pass one for each")
    return [instruction + separator + text for instruction, text in zip(instructions, inputs, strict=True)]


def check_candidates(prompts: Sequence[str], candidates: Sequence[Sequence[str]]) -> None:
    """Check that every prompt has candidates.

    Args:
        prompts: The prompts.
        candidates: The candidates of each.

    Raises:
        ConfigurationError: The counts differ, or a prompt has no candidate.
    """
    if len(prompts) != len(candidates):
        raise ConfigurationError(f"{len(prompts)} inputs and {len(candidates)} lists of candidates; pass one for each")
    for index, texts in enumerate(candidates):
        if isinstance(texts, str) or not len(texts) or not all(isinstance(text, str) for text in texts):
            raise ConfigurationError(f"candidates {index} are {texts!r}; pass a list of at least one string")


def _ranks(scores: Any) -> Any:
    ordered = np.sort(scores)[::-1].tolist()
    return np.array([ordered.index(score) + 1 for score in scores.tolist()], dtype=np.int32)


def _stacked(rows: list[Any]) -> Numbers:
    return np.stack(rows) if len({len(row) for row in rows}) == 1 else rows
