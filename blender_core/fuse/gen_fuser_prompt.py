"""Fit GenFuser's input, the prompt and the candidates, into a window of tokens.

A layout writes a model's input; ``fit`` decides how much of each text goes in. The closing instruction and every
candidate always stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from blender_core.errors import CheckpointError, FusionError
from blender_core.fuse.llm_fuser import fusion_prompt
from blender_core.fuse.protocol import FusionInput
from blender_core.models.segments import common_length
from blender_core.models.tokenizers import SealedTokenizer
from blender_core.text.unicode import without_surrogates

__all__ = ["ChatLayout", "FittedInput", "FusionLayout", "PaperLayout", "PublishedLayout", "fit"]

# a candidate cut below this says nothing
_FEWEST_TOKENS = 4
_OMISSION = "..."


class FusionLayout(Protocol):
    """Writes the input of one kind of model, and reads its output."""

    def harmless(self, text: str) -> str:
        """Change a text so that ``assemble`` reads no control token in it."""

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and the exclusive end of each token, in characters."""

    def assemble(self, prompt: str, candidates: Sequence[str]) -> list[int]:
        """Return the ids of the whole input; the texts come from ``harmless``."""

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without control tokens."""


@dataclass(frozen=True, slots=True)
class FittedInput:
    """Holds an input that fits the window.

    Attributes:
        ids: Token ids.
        cut: Candidate position -> tokens left out; -1 is the prompt.
    """

    ids: list[int]
    cut: dict[int, int] = field(default_factory=dict)


class PublishedLayout:
    """Writes the input of the published GenFuser, a T5 model.

    ``Instruction: {instruction}</s>Input: {prompt}</s>Candidate 0: <extra_id_0>:{first}</s>…</s>Summarize
    candidates into a better one for the given instruction:``, without ``</s>`` at the end, as ``Blender.fuse`` of
    ``llm-blender`` 0.0.2 does.

    Args:
        tokenizer: The checkpoint's tokenizer.
        instruction: The instruction; it is never cut.
    """

    def __init__(self, tokenizer: SealedTokenizer, instruction: str = "") -> None:
        self._tokenizer = tokenizer
        self._instruction = instruction
        self._end = tokenizer.spelling("</s>")

    def harmless(self, text: str) -> str:
        """Return the text unchanged: a sealed tokenizer finds no control tokens in it."""
        return text

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and the exclusive end of each token, in characters."""
        return self._tokenizer.spans(text)

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without control tokens."""
        return self._tokenizer.decode(ids)

    def assemble(self, prompt: str, candidates: Sequence[str]) -> list[int]:
        """Return the ids of the whole input.

        Raises:
            FusionError: The tokenizer has too few ``<extra_id_…>`` tokens for the candidates; lower ``top_k``.
        """
        try:
            marks = [self._tokenizer.spelling(f"<extra_id_{position}>") for position in range(len(candidates))]
        except CheckpointError as error:
            raise FusionError(
                f"{len(candidates)} candidates are too many for this fuser: {error}; lower top_k"
            ) from error
        parts = [f"Instruction: {self._instruction}", f"Input: {prompt}"]
        parts += [
            f"Candidate {position}: {mark}:{text}"
            for position, (mark, text) in enumerate(zip(marks, candidates, strict=True))
        ]
        parts.append("Summarize candidates into a better one for the given instruction:")
        return self._tokenizer.encode(self._end.join(parts))


class PaperLayout(PublishedLayout):
    """Writes the input as the paper's ``gen_fuser/fuse_infer.py``, of ``llm-blender`` 0.0.2.

    As ``PublishedLayout``, but every line break is a `` </s> ``, and the input ends with ``</s>``.

    Args:
        tokenizer: The checkpoint's tokenizer.
        instruction: The instruction; it is never cut.
    """

    def harmless(self, text: str) -> str:
        """Replace line breaks by ``</s>``; a sealed tokenizer finds no other control tokens."""
        return text.replace("\n", f" {self._end} ")

    def assemble(self, prompt: str, candidates: Sequence[str]) -> list[int]:
        """Return the ids of the whole input.

        Raises:
            FusionError: The tokenizer has too few ``<extra_id_…>`` tokens for the candidates; lower ``top_k``.
        """
        return [*super().assemble(prompt, candidates), self._tokenizer.control_id("</s>")]


class ChatLayout:
    """Writes the fusion prompt of ``LLMFuser`` in a decoder-only model's chat template.

    Args:
        tokenizer: A transformers tokenizer. Without a chat template the two messages are joined as plain text.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._controls = sorted(
            {token.content for token in tokenizer.added_tokens_decoder.values() if len(token.content) > 1},
            key=len,
            reverse=True,
        )

    def harmless(self, text: str) -> str:
        """Put a space into every string that this tokenizer reads as a control token."""
        text = without_surrogates(text)
        found = True
        while found:
            found = False
            for token in self._controls:
                if token in text:
                    text, found = text.replace(token, f"{token[0]} {token[1:]}"), True
        return text

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return the start and the exclusive end of each token, in characters."""
        encoded = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return [(int(start), int(end)) for start, end in encoded["offset_mapping"]]

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids without control tokens."""
        return str(self._tokenizer.decode(ids, skip_special_tokens=True))

    def assemble(self, prompt: str, candidates: Sequence[str]) -> list[int]:
        """Return the ids of the whole input."""
        request = FusionInput(prompt, tuple(candidates))
        messages = [
            {"role": message.role, "content": message.content} for message in fusion_prompt(request)[0].messages
        ]
        if self._tokenizer.chat_template is None:
            text = "\n\n".join(message["content"] for message in messages) + "\n"
            return list(self._tokenizer.encode(text))
        text = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def fit(
    layout: FusionLayout,
    prompt: str,
    candidates: Sequence[str],
    *,
    window: int,
    candidate_max_length: int | None,
) -> FittedInput:
    """Shorten the texts until the input fits.

    First every candidate is cut to ``candidate_max_length``, as in the reference. If that is not enough, the prompt is
    cut, down to half of the room for texts. Then the longest candidates are cut to one common length. Candidates lose
    their end. The prompt loses its middle, because a question often comes last.

    Args:
        layout: How the input is written.
        prompt: The prompt.
        candidates: The candidates, best first.
        window: Most tokens of the whole input.
        candidate_max_length: Most tokens of one candidate; ``None`` is no limit.

    Returns:
        The ids, and the tokens cut.

    Raises:
        FusionError: The window is too small for so many candidates.
    """
    prompt, candidates = layout.harmless(prompt), [layout.harmless(text) for text in candidates]
    prompt_spans, candidate_spans = layout.spans(prompt), [layout.spans(text) for text in candidates]
    lengths = [len(spans) for spans in candidate_spans]
    longest = max(lengths, default=0)
    limit = longest if candidate_max_length is None else min(candidate_max_length, longest)
    prompt_limit = len(prompt_spans)

    def build() -> tuple[list[int], dict[int, int]]:
        cut = {position: length - limit for position, length in enumerate(lengths) if length > limit}
        texts = [
            _beginning(text, spans, limit) if position in cut else text
            for position, (text, spans) in enumerate(zip(candidates, candidate_spans, strict=True))
        ]
        shown = prompt
        if prompt_limit < len(prompt_spans):
            cut[-1] = len(prompt_spans) - prompt_limit
            shown = _both_ends(prompt, prompt_spans, prompt_limit)
        return layout.assemble(shown, texts), cut

    ids, cut = build()
    if len(ids) > window:
        room = window - len(layout.assemble("", [""] * len(candidates)))
        # the prompt gets what the candidates leave, but at least half of the room
        wanted = sum(min(length, limit) for length in lengths)
        prompt_limit = max(0, min(len(prompt_spans), max(room // 2, room - wanted)))
        limit = min(limit, common_length(lengths, room - prompt_limit))
        ids, cut = build()
    while len(ids) > window:
        # "..." costs a few tokens more
        excess = len(ids) - window
        if prompt_limit > limit:
            prompt_limit = max(0, prompt_limit - excess)
        else:
            limit -= max(1, excess // max(1, sum(length >= limit for length in lengths)))
        if limit < min(_FEWEST_TOKENS, longest):
            raise FusionError(
                f"{len(candidates)} candidates do not fit a window of {window} tokens; lower top_k or raise max_length"
            )
        ids, cut = build()
    return FittedInput(ids, cut)


def _beginning(text: str, spans: Sequence[tuple[int, int]], tokens: int) -> str:
    return text[: spans[tokens - 1][1] if tokens > 0 else 0] + _OMISSION


def _both_ends(text: str, spans: Sequence[tuple[int, int]], tokens: int) -> str:
    tail = tokens // 2
    beginning = _beginning(text, spans, tokens - tail)
    return f"{beginning} {text[spans[-tail][0] :]}" if tail else beginning
