"""Cache blended answers: what the cache key is made of, and which answers are stored."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
import weakref
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any

from langchain_core.caches import RETURN_VAL_TYPE, BaseCache
from langchain_core.language_models import BaseLanguageModel
from langchain_core.load import dumpd
from langchain_core.outputs import Generation
from langchain_core.runnables import Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.redaction import redacted, without_secrets
from blender_core.types.outcome import Status
from blender_core.types.result import BlendResult
from langchain_blender.members import LangChainMember

__all__ = ["WHOLE", "WholeAnswersCache", "identity", "is_whole"]

_lock = threading.Lock()
_tokens: dict[int, tuple[Callable[[], Any], str]] = {}


def identity(part: Any) -> Any:
    """Return plain data that is equal for two parts only if they give the same answers.

    Args:
        part: A member, a ranker, a fuser or a setting.

    Returns:
        For a model its identifying parameters and a hash of its serialized form, if it has these. For a string, a
        number or a dataclass its value. For any other object a token that is unique in this process.
    """
    if part is None or isinstance(part, int | float):
        return part
    if isinstance(part, str):
        return _shown(part)
    if isinstance(part, LangChainMember):
        return {"name": part.name, "runnable": identity(part.runnable), "input": identity(part.input)}
    if isinstance(part, LLMFuser):
        return {"fuser": part.name, "member": identity(part.member), "limit": part.max_candidate_characters}
    if isinstance(part, BaseLanguageModel):
        return _model(part)
    if isinstance(part, RunnableBindingBase):
        return {
            "bound": identity(part.bound),
            "kwargs": _hash(sorted(part.kwargs.items())),
            "configurable": _hash(sorted(part.config.get("configurable", {}).items())),
            **_class(part),
        }
    if isinstance(part, RunnableWithFallbacks | RunnableSequence):
        branches = part.runnables if isinstance(part, RunnableWithFallbacks) else part.steps
        return {**_class(part), "parts": [identity(branch) for branch in branches]}
    if isinstance(part, list | tuple):
        return [identity(item) for item in part]
    if is_dataclass(part) and not isinstance(part, type) and not isinstance(part, Runnable):
        return _shown(repr(part))
    return {**_class(part), "object": _token(part)}


def _model(model: BaseLanguageModel[Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if type(model)._identifying_params is not BaseLanguageModel._identifying_params:
        stated = dict(model._identifying_params)
        said.update(without_secrets(stated))
        if said != stated:
            said["stated"] = _hash(sorted(stated.items()))
    if model.is_lc_serializable():
        # identifying parameters lack much, such as the server; LangChain's own keys use the serialized form too
        said["serialized"] = _hash(json.dumps(_without_addresses(dumpd(model)), sort_keys=True))
    # a model without either equals only itself
    return {**_class(model), **(said or {"object": _token(model)})}


def _shown(text: str) -> str:
    return text if redacted(text) == text else _hash(text)


def _hash(settings: Any) -> str:
    """Stand for settings: traces and caches show the identity, and headers may contain a token."""
    return hashlib.sha256(str(settings).encode("utf-8", "surrogatepass")).hexdigest()


def _without_addresses(serialized: Any) -> Any:
    """A copy without the ``repr`` of objects that cannot be serialized."""
    if isinstance(serialized, list):
        return [_without_addresses(item) for item in serialized]
    if not isinstance(serialized, dict):
        return serialized
    opaque = serialized.get("type") == "not_implemented"
    return {key: _without_addresses(item) for key, item in serialized.items() if not (opaque and key == "repr")}


def _class(part: Any) -> dict[str, str]:
    return {"class": f"{type(part).__module__}.{type(part).__qualname__}"}


def _token(part: Any) -> str:
    """A token for an object. Its address alone is no token, because a later object may get it."""
    with _lock:
        known = _tokens.get(id(part))
        if known is not None and known[0]() is part:
            return known[1]
        token = uuid.uuid4().hex
        try:
            _tokens[id(part)] = (weakref.ref(part), token)
        except TypeError:
            # no weak reference is possible, so it is kept alive and its address stays unique
            _tokens[id(part)] = (lambda: part, token)
        return token


# these members would end in the same way again
_SETTLED = frozenset({Status.OK, Status.REFUSED, Status.UNSUPPORTED, Status.TOO_LONG})
WHOLE = "blend_is_whole"
"""Key of ``generation_info`` that says whether an answer may be stored."""


class WholeAnswersCache(BaseCache):
    """Wraps a cache, and stores whole answers only.

    An answer that was made while a member failed serves its own call. In the cache it would still be returned after
    the member works again.

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
        """Look an answer up without blocking the event loop, if the cache can."""
        return await self._cache.alookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole."""
        if _may_be_stored(return_val):
            self._cache.update(prompt, llm_string, return_val)

    async def aupdate(self, prompt: str, llm_string: str, return_val: RETURN_VAL_TYPE) -> None:
        """Store an answer if it is whole, without blocking the event loop if the cache can."""
        if _may_be_stored(return_val):
            await self._cache.aupdate(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        """Clear the cache."""
        self._cache.clear(**kwargs)

    async def aclear(self, **kwargs: Any) -> None:
        """Clear the cache without blocking the event loop, if the cache can."""
        await self._cache.aclear(**kwargs)


def is_whole(result: BlendResult) -> bool:
    """Tell whether an answer was made without a failure.

    Args:
        result: The result.

    Returns:
        ``True`` if no stage was degraded, no fusion was refused, and every member answered, refused, or could not do
        the call.
    """
    if result.is_degraded or result.fusion_refused is not None:
        return False
    return all(record.status in _SETTLED for record in result.candidates)


def _may_be_stored(generations: Sequence[Generation]) -> bool:
    return all((each.generation_info or {}).get(WHOLE, True) for each in generations)
