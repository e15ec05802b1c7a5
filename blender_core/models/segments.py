"""Join prompt and answer into one row of token ids, cut in the middle if too long.

Training and the shipped ranker both encode with this module, so they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["SegmentLayout", "SegmentedText", "common_length", "cut_middle"]


def cut_middle(token_ids: Sequence[int], limit: int, marker: int, head_share: float) -> tuple[list[int], int]:
    """Keep the beginning and the end of a text that is too long.

    Args:
        token_ids: The text's token ids.
        limit: Most tokens to return, the marker included; at least 1.
        marker: Token id that replaces the removed tokens.
        head_share: Share of the kept tokens that comes from the beginning, in [0, 1].

    Returns:
        The ids that fit, and the number of removed tokens.

    Examples:
        >>> cut_middle([1, 2, 3, 4, 5, 6, 7], limit=5, marker=0, head_share=0.5)
        ([1, 2, 0, 6, 7], 3)
        >>> cut_middle([1, 2], limit=5, marker=0, head_share=0.5)
        ([1, 2], 0)
    """
    if len(token_ids) <= limit:
        return list(token_ids), 0
    kept = max(limit - 1, 0)
    head = round(kept * head_share)
    tail = kept - head
    middle = [marker] if limit else []
    return [*token_ids[:head], *middle, *token_ids[len(token_ids) - tail :]], len(token_ids) - kept


@dataclass(frozen=True, slots=True)
class SegmentedText:
    """One prompt with one answer, ready for the encoder.

    Attributes:
        token_ids: ``[CLS] prompt [SEP] answer [SEP]``.
        answer_start: Index of the first answer token; segment 1 starts there, segment 0 ends before it.
        prompt_cut: Prompt tokens that did not fit.
        answer_cut: Answer tokens that did not fit.
    """

    token_ids: list[int]
    answer_start: int
    prompt_cut: int
    answer_cut: int


@dataclass(frozen=True, slots=True)
class SegmentLayout:
    """Divides the encoder's window between a prompt and an answer.

    Each side may use the room that the other leaves. If both are too long, the prompt gets ``prompt_share``.

    Attributes:
        cls_token: Id of ``[CLS]``.
        sep_token: Id of ``[SEP]``.
        cut_marker: Id that replaces the removed middle of a text.
        prompt_share: Share of the window for the prompt if both sides are too long.
        prompt_head: Share of a cut prompt that is kept from its beginning.
        answer_head: Share of a cut answer that is kept from its beginning.

    Examples:
        >>> layout = SegmentLayout(cls_token=1, sep_token=2, cut_marker=3, prompt_share=0.5)
        >>> layout.join([10, 11], [20, 21, 22, 23, 24, 25], max_tokens=9)
        SegmentedText(token_ids=[1, 10, 11, 2, 20, 21, 3, 25, 2], answer_start=4, prompt_cut=0, answer_cut=3)
    """

    cls_token: int
    sep_token: int
    cut_marker: int
    prompt_share: float = 0.35
    prompt_head: float = 0.5
    answer_head: float = 0.65

    def join(self, prompt: Sequence[int], answer: Sequence[int], max_tokens: int) -> SegmentedText:
        """Join the two segments.

        Args:
            prompt: Token ids of the prompt, without special tokens.
            answer: Token ids of the answer, without special tokens.
            max_tokens: The window in tokens, special tokens included; at least 8.

        Returns:
            At most ``max_tokens`` ids, and the numbers of tokens cut.
        """
        room = max_tokens - 3
        prompt_room = max(int(room * self.prompt_share), room - len(answer), 1)
        prompt_ids, prompt_cut = cut_middle(prompt, prompt_room, self.cut_marker, self.prompt_head)
        answer_room = room - len(prompt_ids)
        answer_ids, answer_cut = cut_middle(answer, answer_room, self.cut_marker, self.answer_head)
        ids = [self.cls_token, *prompt_ids, self.sep_token, *answer_ids, self.sep_token]
        return SegmentedText(ids, len(prompt_ids) + 2, prompt_cut, answer_cut)


def common_length(lengths: Sequence[int], room: int) -> int:
    """Find the largest common length, in tokens, at which all texts fit together.

    Args:
        lengths: Length of each text.
        room: Tokens for all.

    Returns:
        The length; that of the longest text if all fit, 0 without a text.

    Examples:
        >>> common_length([10, 2, 10], 12)
        5
    """
    ordered = sorted(lengths)
    for position, length in enumerate(ordered):
        share = max(0, room) // (len(ordered) - position)
        if length > share:
            return share
        room -= length
    return ordered[-1] if ordered else 0
