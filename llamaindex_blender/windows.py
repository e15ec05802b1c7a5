"""Count a prompt against context windows, which LlamaIndex states in tokens of prompt and answer."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import LLMMetadata
from llama_index.core.constants import DEFAULT_CONTEXT_WINDOW
from llama_index.core.utils import get_tokenizer

from blender_core.types.prompt import Prompt

__all__ = ["fusing_reserve", "shared_window", "surely_fits", "text_tokens", "why_too_long"]

# tokens of the fusing instruction, without prompt and answers
_FUSING_TOKENS = 256
# tokens that a query engine keeps for its template (about 600 for "refine") and one short chunk
_PROMPT_TOKENS = 800


def shared_window(windows: Sequence[int], quorum: int) -> int:
    """Choose a blend's window: half of its members can read a prompt of this size.

    The smallest window would shrink the prompt for all, and the largest would leave one member to answer.

    Args:
        windows: The members' windows in tokens, as far as they are known.
        quorum: Members that have to answer; as many can read the prompt.

    Returns:
        The window in tokens; LlamaIndex's default if none is known.

    Examples:
        >>> shared_window([1024, 8192, 131072], quorum=1)
        8192
    """
    if not windows:
        return DEFAULT_CONTEXT_WINDOW
    readers = min(len(windows), max(quorum, (len(windows) + 1) // 2))
    return sorted(windows, reverse=True)[readers - 1]


def fusing_reserve(window: int, num_output: int, answers: int) -> int:
    """Count the tokens to keep free in a window, so that the prompt can be fused too.

    Args:
        window: The window in tokens.
        num_output: Tokens of one answer.
        answers: Answers that are fused.

    Returns:
        The tokens; fewer if answer and prompt would not have their room then.

    Examples:
        >>> fusing_reserve(8192, 256, answers=3), fusing_reserve(1536, 256, answers=3), fusing_reserve(1000, 256, 3)
        (1024, 480, 0)
    """
    left = window - num_output - _PROMPT_TOKENS
    return max(0, min(answers * num_output + _FUSING_TOKENS, left))


def why_too_long(llm: BaseLLM, metadata: LLMMetadata, prompt: Prompt) -> str | None:
    """Tell why a prompt does not fit an LLM's window.

    Args:
        llm: The LLM.
        metadata: Its metadata.
        prompt: The prompt. The answer counts with its ``max_tokens``, if the call or the LLM has them.

    Returns:
        The reason with both counts; ``None`` if it fits, or if the window is only LlamaIndex's default.
    """
    window = metadata.context_window
    if window <= 0 or not _is_stated(llm, window):
        return None
    tools = json.dumps(list(prompt.options.get("tools") or ()), default=str)
    text = prompt.text + (tools if tools != "[]" else "")
    answer = _answer_tokens(llm, prompt)
    if _fits(text, answer, window):
        return None
    counted = text_tokens(text)
    # models of other languages may need half the tokens; a prompt that may fit is sent, but not one to fuse
    if prompt.purpose == "answer" and not text.isascii():
        counted //= 2
    asked = counted + answer
    return None if asked <= window else f"the prompt is too long: {asked:,} tokens > {window:,}"


def surely_fits(llm: BaseLLM, metadata: LLMMetadata, prompt: Prompt) -> bool:
    """Tell whether a prompt without tools fits an LLM's window, without a tokenizer.

    Args:
        llm: The LLM.
        metadata: Its metadata, perhaps of an earlier time.
        prompt: The prompt.

    Returns:
        Whether it fits; ``False`` if the metadata has no window.
    """
    window = metadata.context_window
    return window > 0 and (not _is_stated(llm, window) or _fits(prompt.text, _answer_tokens(llm, prompt), window))


def _is_stated(llm: BaseLLM, window: int) -> bool:
    return window != DEFAULT_CONTEXT_WINDOW or "context_window" in getattr(llm, "model_fields_set", ())


def _answer_tokens(llm: BaseLLM, prompt: Prompt) -> int:
    answer = prompt.options.get("max_tokens") or getattr(llm, "max_tokens", None) or 0
    return answer if isinstance(answer, int) else 0


def _fits(text: str, answer: int, window: int) -> bool:
    # a token has at least one byte, so most prompts need no tokenizer; a character has at most four bytes
    if 4 * len(text) + answer <= window:
        return True
    return len(text.encode(errors="replace")) + answer <= window


def text_tokens(text: str) -> int:
    """Count the tokens of a text by LlamaIndex's tokenizer (``Settings.tokenizer``).

    Args:
        text: Any text.

    Returns:
        The count; an estimate for models with another tokenizer.
    """
    return _counted(get_tokenizer(), text)


# members of one call ask for the same text
@functools.lru_cache(maxsize=8)
def _counted(tokenizer: Any, text: str) -> int:
    return len(tokenizer(text))
