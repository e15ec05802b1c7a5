"""Find the control tokens of a member's own model, and keep them out of prompts that hold others' texts."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from blender_core.members.member import Member
from blender_core.text.control_markers import ControlTokens
from blender_core.types.media import Media
from blender_core.types.prompt import Prompt

__all__ = ["plain_for", "reachable_tokens", "special_tokens"]

# where LLMs of frameworks keep their tokenizer
_PLACES = ("tokenizer", "_tokenizer", "pipeline.tokenizer", "llm.tokenizer", "llm.pipeline.tokenizer")


def plain_for(member: Member, prompt: Prompt) -> Prompt:
    """Break up the control tokens of a member's model in a prompt that the engine wrote.

    Such a prompt holds texts of other members. What a user asks is sent as it is.

    Args:
        member: Who is asked.
        prompt: The prompt of a judge or a fuser.

    Returns:
        The prompt; unchanged if the member's control tokens are unknown.
    """
    tokens = _tokens(member.control_tokens)
    if not tokens:
        return prompt

    def plain(part: str | Media) -> str | Media:
        return part if isinstance(part, Media) else tokens.neutralise(part)

    messages = tuple(
        replace(turn, content=tokens.neutralise(turn.content), parts=tuple(map(plain, turn.parts)))
        for turn in prompt.messages
    )
    return replace(prompt, messages=messages)


@functools.lru_cache(maxsize=64)
def _tokens(tokens: frozenset[str]) -> ControlTokens:
    return ControlTokens(tokens)


def special_tokens(tokenizer: Any) -> frozenset[str]:
    """Read the control tokens of a tokenizer of transformers.

    Args:
        tokenizer: The tokenizer; anything else has none.

    Returns:
        The tokens.
    """
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {token.content for token in added.values() if token.special} if isinstance(added, dict) else set()
    named = getattr(tokenizer, "all_special_tokens", ())
    return frozenset({*marked, *(str(token) for token in named)})


def reachable_tokens(llm: Any) -> frozenset[str]:
    """Read the control tokens of an LLM whose tokenizer is in this process.

    Args:
        llm: An LLM of a framework, such as a pipeline of transformers.

    Returns:
        The tokens; empty if the LLM has no such tokenizer.
    """
    return frozenset().union(*(special_tokens(tokenizer) for tokenizer in _tokenizers(llm)))


def _tokenizers(llm: Any) -> Iterator[Any]:
    for place in _PLACES:
        found = llm
        for name in place.split("."):
            found = getattr(found, name, None)
        if found is not None:
            yield found
