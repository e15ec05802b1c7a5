"""Which blended answers LangChain's cache may keep: whole ones only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.outputs import ChatGeneration, Generation

from blender_core.types.outcome import Status

__all__ = ["WholeAnswersCache", "is_whole"]

# a refusal is an answer of its kind: it would come again; and who takes no part is not missed
_SETTLED = frozenset({Status.OK.value, Status.REFUSED.value, Status.UNSUPPORTED.value})


class WholeAnswersCache(BaseCache):
    """Another cache, in which only whole answers are stored.

    An answer that was made while a member was down is good enough for its own call, and no more: kept, it would
    stand in for the ensemble long after the member is back.

    Args:
        cache: The cache.

    Examples:
        >>> from langchain_core.caches import InMemoryCache
        >>> WholeAnswersCache(InMemoryCache()).lookup("prompt", "llm") is None
        True
    """

    def __init__(self, cache: BaseCache) -> None:
        self._cache = cache

    def lookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Look an answer up."""
        return self._cache.lookup(prompt, llm_string)

    async def alookup(self, prompt: str, llm_string: str) -> RETURN_VAL_TYPE | None:
        """Look an answer up, without blocking the event loop where the cache can."""
        return await self._cache.alookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole."""
        if is_whole(return_val):
            self._cache.update(prompt, llm_string, return_val)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole, without blocking the event loop where the cache can."""
        if is_whole(return_val):
            await self._cache.aupdate(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Clear the cache."""
        self._cache.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        """Clear the cache, without blocking the event loop where the cache can."""
        await self._cache.aclear(**kwargs)


def is_whole(generations: Sequence[Generation]) -> bool:
    """Whether nothing was missing when an answer was made.

    Args:
        generations: What a blend generated.

    Returns:
        Whether no stage was degraded and every member answered, refused, or took no part.

    Examples:
        >>> from langchain_core.messages import AIMessage
        >>> made = {"degraded": False, "candidates": [{"status": "ok"}, {"status": "timeout"}]}
        >>> is_whole([ChatGeneration(message=AIMessage("Hi", response_metadata={"blend": made}))])
        False
    """
    for generation in generations:
        if isinstance(generation, ChatGeneration):
            made = generation.message.response_metadata.get("blend") or {}
            if made.get("degraded") or any(part["status"] not in _SETTLED for part in made.get("candidates", ())):
                return False
    return True
