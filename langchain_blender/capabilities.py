"""Find out from a model's profile that it cannot take a prompt: its content, or its length."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.language_models import BaseLanguageModel

from blender_core.types.media import Media
from blender_core.types.prompt import Message, Prompt
from langchain_blender.usage import count_text, counters_of

__all__ = ["may_count", "why_no_model"]

_PDF = "application/pdf"
_FRAME_TOKENS = 3
# hardly any text has longer tokens: a prompt that may fit is sent
_LONGEST_TOKEN = 6
# UTF-8 bytes of a character
_MOST_TOKENS = 4


def why_no_model(models: Sequence[BaseLanguageModel[Any] | None], prompt: Prompt) -> str | None:
    """Return why none of some models can take a prompt.

    A profile counts if it says ``False`` of a kind of content, or gives ``max_input_tokens``. What it leaves out is
    unknown. Without the model's own tokenizer only a prompt that surely is too long counts as too long.

    Args:
        models: A model and its fallbacks; ``None`` for one that is not known.
        prompt: The prompt.

    Returns:
        The reason of the first model; ``None`` if one may take it.
    """
    reasons = [None if model is None else _why_not(model, prompt) for model in models]
    return reasons[0] if reasons and all(reasons) else None


def may_count(models: Sequence[BaseLanguageModel[Any] | None], prompt: Prompt) -> bool:
    """Tell whether ``why_no_model`` may take long, because it counts or writes out a long prompt.

    Args:
        models: A model and its fallbacks; ``None`` for one that is not known.
        prompt: The prompt.

    Returns:
        ``False`` if no model states ``max_input_tokens``, or the prompt fits by its length in characters.
    """
    limits = [_limit(model) for model in models]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return False
    texts = [turn.content for turn in prompt.messages]
    return bool(prompt.options.get("tools")) or not _surely_fits(texts, len(texts), min(known))


def _why_not(model: BaseLanguageModel[Any], prompt: Prompt) -> str | None:
    profile = getattr(model, "profile", None)
    if not isinstance(profile, Mapping):
        return None
    for turn in prompt.messages:
        for part in turn.parts:
            lacks = next((key for key in _needs(turn, part) if profile.get(key) is False), None)
            if lacks is not None:
                return f"its profile says that it takes no such content ({lacks}: False)"
    limit = _limit(model)
    return None if limit is None else _why_too_long(model, limit, prompt)


def _limit(model: BaseLanguageModel[Any] | None) -> int | None:
    profile = getattr(model, "profile", None)
    limit = profile.get("max_input_tokens") if isinstance(profile, Mapping) else None
    return limit if isinstance(limit, int) and not isinstance(limit, bool) else None


def _surely_fits(texts: Sequence[str], turns: int, limit: int) -> bool:
    # a character of any script takes at most four tokens, so most prompts need no counting
    return _MOST_TOKENS * sum(map(len, texts)) + _FRAME_TOKENS * turns <= limit


def _needs(turn: Message, part: str | Media) -> tuple[str, ...]:
    """The capabilities that a part of a turn needs."""
    if isinstance(part, str):
        return ()
    kind = part.kind
    if kind == "file":
        if part.mime_type != _PDF:
            return ()
        kind = "pdf"  # type: ignore[assignment]
    by_url = ("image_url_inputs",) if kind == "image" and part.data is None else ()
    in_tool = (f"{kind}_tool_message",) if turn.role == "tool" else ()
    return (f"{kind}_inputs", *by_url, *in_tool)


def _why_too_long(model: BaseLanguageModel[Any], limit: int, prompt: Prompt) -> str | None:
    texts = [turn.content for turn in prompt.messages]
    tools = [json.dumps(tool, default=str) for tool in prompt.options.get("tools") or ()]
    if _surely_fits((*texts, *tools), len(texts), limit):
        return None
    counters = counters_of([model])
    if counters:
        count = sum(count_text(text, counters) for text in (*texts, *tools)) + _FRAME_TOKENS * len(texts)
    else:
        count = math.ceil(sum(map(len, (*texts, *tools))) / _LONGEST_TOKEN)
    if count <= limit:
        return None
    about = "" if counters else "at least "
    return f"the prompt is too long: {about}{count:,} tokens > {limit:,}"
