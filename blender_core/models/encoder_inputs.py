"""Turn a text, or a prompt with an answer, into the token ids of a pretrained encoder.

The special tokens and segment ids come from the model's own ``tokenizer.json``. Texts are encoded by a
``SealedTokenizer``, so no text can produce a special token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from blender_core.errors import CheckpointError
from blender_core.models.tokenizers import SealedTokenizer, read_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["EncoderInput", "EncoderTokenizer", "tokens_cut"]


@dataclass(frozen=True, slots=True)
class EncoderInput:
    """Token ids for one forward pass.

    Attributes:
        ids: Token ids, special ones included.
        segments: Segment id of each token, as in the tokenizer's template.
        answer: Start and end (exclusive) of the last text in ``ids``.
        prompt_cut: Tokens of the prompt that did not fit.
        answer_cut: Tokens of the last text that did not fit.
    """

    ids: list[int]
    segments: list[int]
    answer: tuple[int, int]
    prompt_cut: int = 0
    answer_cut: int = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    """Special tokens before, between and after the texts, with segment ids."""

    special: tuple[tuple[int, ...], ...]
    special_segments: tuple[tuple[int, ...], ...]
    text_segments: tuple[int, ...]

    @property
    def size(self) -> int:
        return sum(map(len, self.special))


class EncoderTokenizer:
    """Encodes texts with their special tokens. Safe to use from several threads.

    Args:
        path: A ``tokenizer.json`` with a template for special tokens.

    Raises:
        CheckpointError: The file cannot be read, or its template does not join two texts in order.
    """

    def __init__(self, path: Path) -> None:
        self._sealed = SealedTokenizer.from_file(path)
        plain = read_tokenizer(path.read_text(encoding="utf-8"), str(path))
        self._single = _frame(plain, 1, path)
        self._pair = _frame(plain, 2, path)

    @property
    def separates_pairs(self) -> bool:
        """Whether something stands between the two texts of a pair."""
        return bool(self._pair.special[1])

    def control_id(self, name: str) -> int:
        """Return the id of a special token, such as ``"[MASK]"``.

        Raises:
            CheckpointError: The tokenizer has no such special token.
        """
        return self._sealed.control_id(name)

    def encode(self, text: str) -> list[int]:
        """Encode a text alone; lone surrogates become question marks."""
        return self._sealed.encode(text)

    def single(self, text: str, max_tokens: int) -> EncoderInput:
        """Encode one text; cut its end if it is too long.

        Args:
            text: The text.
            max_tokens: Most tokens, special ones included.

        Returns:
            At most ``max_tokens`` ids.
        """
        ids = self.encode(text)
        room = max(0, max_tokens - self._single.size)
        return _join(self._single, [ids[:room]], 0, max(0, len(ids) - room))

    def pair(self, prompt: str, answer: str, max_tokens: int) -> EncoderInput:
        """Encode a prompt and an answer.

        Each may use the room that the other leaves, and gets half if both are too long. A prompt is cut in its middle,
        because the question often comes last. An answer is cut at its end.

        Args:
            prompt: The prompt.
            answer: The answer.
            max_tokens: Most tokens, special ones included.

        Returns:
            At most ``max_tokens`` ids.
        """
        first, second = self.encode(prompt), self.encode(answer)
        room = max(0, max_tokens - self._pair.size)
        first_room = max(room // 2, room - len(second))
        kept = first
        if len(first) > first_room:
            tail = first_room // 2
            kept = first[: first_room - tail] + first[len(first) - tail :]
        second_room = room - len(kept)
        return _join(
            self._pair, [kept, second[:second_room]], len(first) - len(kept), max(0, len(second) - second_room)
        )


def tokens_cut(rows: Sequence[EncoderInput]) -> dict[int, int]:
    """Count the tokens that did not fit, as ``Ranking.cut`` reports them.

    Args:
        rows: One prompt, encoded with each of its answers.

    Returns:
        Tokens cut off, by index of the answer; key -1 holds the most tokens cut off the prompt.
    """
    cut = {index: row.answer_cut for index, row in enumerate(rows) if row.answer_cut}
    prompt_cut = max((row.prompt_cut for row in rows), default=0)
    return {-1: prompt_cut, **cut} if prompt_cut else cut


def _join(frame: _Frame, texts: Sequence[list[int]], prompt_cut: int, answer_cut: int) -> EncoderInput:
    ids, segments = list(frame.special[0]), list(frame.special_segments[0])
    start = 0
    for number, text in enumerate(texts):
        start = len(ids)
        ids += [*text, *frame.special[number + 1]]
        segments += [*[frame.text_segments[number]] * len(text), *frame.special_segments[number + 1]]
    return EncoderInput(ids, segments, (start, start + len(texts[-1])), prompt_cut, answer_cut)


def _frame(tokenizer: Tokenizer, texts: int, path: Path) -> _Frame:
    # Python cannot read the template, so it is inferred from its effect on two words
    encoding = tokenizer.encode("a", "a" if texts == 2 else None, add_special_tokens=True)
    special: list[list[int]] = [[]]
    special_segments: list[list[int]] = [[]]
    text_segments: list[int] = []
    current: int | None = None
    for token_id, kind, sequence in zip(encoding.ids, encoding.type_ids, encoding.sequence_ids, strict=True):
        if sequence is None:
            special[-1].append(token_id)
            special_segments[-1].append(kind)
        elif sequence != current:
            current = sequence
            text_segments.append(kind)
            special.append([])
            special_segments.append([])
    if len(text_segments) != texts or current != texts - 1:
        raise CheckpointError(
            f"{path} frames {texts} text(s) in a way that cannot be followed: {encoding.tokens}; use an encoder whose "
            "tokenizer.json has a template such as [CLS] A [SEP] B [SEP]"
        )
    return _Frame(tuple(map(tuple, special)), tuple(map(tuple, special_segments)), tuple(text_segments))
