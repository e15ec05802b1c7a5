"""One prompt with its candidates, encoded: what a PairRanker works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from blender_core.text.distinct import DistinctCandidates, distinct_candidates

if TYPE_CHECKING:
    from blender_core.rank.pairrm.tokens import EncodedPair, EncodedText, PairTokenizer

__all__ = ["EncodedRequest", "encode_pairs", "encode_request"]


@dataclass(frozen=True, slots=True)
class EncodedRequest:
    """A prompt and its distinct candidates as ids.

    Attributes:
        source: The prompt.
        texts: The distinct candidates, in an order that does not depend on how they were given.
        distinct: The way back to all candidates.
        cut: Candidate index -> tokens that did not fit; -1 is the prompt.
    """

    source: EncodedText
    texts: tuple[EncodedText, ...]
    distinct: DistinctCandidates
    cut: dict[int, int]


def encode_request(
    tokenizer: PairTokenizer,
    prompt: str,
    candidates: Sequence[str],
    source_max_length: int,
    candidate_max_length: int,
) -> EncodedRequest:
    """Encode a prompt and its candidates once each.

    What a short prompt leaves of its room goes to the candidates, half each: the reference's rule for one request.

    Args:
        tokenizer: The checkpoint's.
        prompt: The prompt.
        candidates: At least one answer.
        source_max_length: Most tokens of the prompt.
        candidate_max_length: Most tokens of a candidate beside a full prompt.

    Returns:
        The request.

    Raises:
        ConfigurationError: ``candidates`` is empty or holds something that is not a string.
    """
    by_text = distinct_candidates(candidates)
    source = tokenizer.source(prompt, source_max_length)
    room = candidate_max_length + (source_max_length - len(source.ids)) // 2
    encoded = [tokenizer.candidate(text, room) for text in by_text.texts]
    # texts that the network cannot tell apart are duplicates too; a fixed order of the rest makes every number
    # independent of the order in which candidates were given
    unique = sorted({text.ids for text in encoded}, key=lambda ids: (len(ids), ids))
    place = {ids: index for index, ids in enumerate(unique)}
    positions = tuple(None if p is None else place[encoded[p].ids] for p in by_text.positions)
    # the reversed walk keeps the first text of each
    first = {place[text.ids]: number for number, text in reversed(list(enumerate(encoded)))}
    cut = {index: encoded[p].cut for index, p in enumerate(by_text.positions) if p is not None and encoded[p].cut}
    return EncodedRequest(
        source=source,
        texts=tuple(encoded[first[index]] for index in range(len(unique))),
        distinct=DistinctCandidates(tuple(by_text.texts[first[index]] for index in range(len(unique))), positions),
        cut={-1: source.cut, **cut} if source.cut else cut,
    )


def encode_pairs(
    tokenizer: PairTokenizer,
    comparisons: Sequence[tuple[str, str, str]],
    source_max_length: int,
    candidate_max_length: int,
) -> list[EncodedPair]:
    """Encode comparisons as they are, each text once.

    Args:
        tokenizer: The checkpoint's.
        comparisons: Prompt, left and right answer of each.
        source_max_length: Most tokens of a prompt.
        candidate_max_length: Most tokens of a candidate beside a full prompt.

    Returns:
        One pair for each comparison.
    """
    sources = {prompt: tokenizer.source(prompt, source_max_length) for prompt, _, _ in comparisons}
    known: dict[tuple[str, int], EncodedText] = {}
    pairs = []
    for prompt, left, right in comparisons:
        source = sources[prompt]
        room = candidate_max_length + (source_max_length - len(source.ids)) // 2
        for text in (left, right):
            if (text, room) not in known:
                known[text, room] = tokenizer.candidate(text, room)
        pairs.append(tokenizer.pair(source, known[left, room], known[right, room]))
    return pairs
