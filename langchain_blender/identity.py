"""What makes one blend different from another: the cache key of a call is made from it."""

from __future__ import annotations

import hashlib
import json
import threading
import uuid
import weakref
from collections.abc import Callable
from dataclasses import is_dataclass
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.load import dumpd
from langchain_core.runnables import Runnable, RunnableSequence, RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from blender_core.fuse.llm_fuser import LLMFuser
from langchain_blender.members import LangChainMember

__all__ = ["identity"]

_lock = threading.Lock()
_tokens: dict[int, tuple[Callable[[], Any], str]] = {}


def identity(part: Any) -> Any:
    """Plain data that is equal for two parts only if they answer alike.

    Args:
        part: A member, a ranker, a fuser or a setting.

    Returns:
        A model's identifying parameters and a hash of what it is serialized to, where it has these; the value of
        a string, a number or a dataclass; for any other object a token that stands for that one object in this
        process.
    """
    if part is None or isinstance(part, str | int | float):
        return part
    if isinstance(part, LangChainMember):
        return {"name": part.name, "runnable": identity(part.runnable), "input": identity(part.input)}
    if isinstance(part, LLMFuser):
        return {"fuser": part.name, "member": identity(part.member), "limit": part.max_candidate_characters}
    if isinstance(part, BaseLanguageModel):
        return _model(part)
    if isinstance(part, RunnableBindingBase):
        return {
            "bound": identity(part.bound),
            "kwargs": str(sorted(part.kwargs.items())),
            "configurable": str(sorted(part.config.get("configurable", {}).items())),
            **_class(part),
        }
    if isinstance(part, RunnableWithFallbacks | RunnableSequence):
        branches = part.runnables if isinstance(part, RunnableWithFallbacks) else part.steps
        return {**_class(part), "parts": [identity(branch) for branch in branches]}
    if isinstance(part, list | tuple):
        return [identity(item) for item in part]
    if is_dataclass(part) and not isinstance(part, type) and not isinstance(part, Runnable):
        return repr(part)
    return {**_class(part), "object": _token(part)}


def _model(model: BaseLanguageModel[Any]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if type(model)._identifying_params is not BaseLanguageModel._identifying_params:
        said.update(model._identifying_params)
    if model.is_lc_serializable():
        # identifying parameters leave out much, such as the server; LangChain's own keys are made of this, too
        settings = json.dumps(_without_addresses(dumpd(model)), sort_keys=True)
        # hashed, since traces show the identity and headers may hold a token
        said["serialized"] = hashlib.sha256(settings.encode()).hexdigest()
    # one that does not say what it is, is taken for nothing but itself
    return {**_class(model), **(said or {"object": _token(model)})}


def _without_addresses(serialized: Any) -> Any:
    """The same without the ``repr`` of objects that cannot be serialized."""
    if isinstance(serialized, list):
        return [_without_addresses(item) for item in serialized]
    if not isinstance(serialized, dict):
        return serialized
    opaque = serialized.get("type") == "not_implemented"
    return {key: _without_addresses(item) for key, item in serialized.items() if not (opaque and key == "repr")}


def _class(part: Any) -> dict[str, str]:
    return {"class": f"{type(part).__module__}.{type(part).__qualname__}"}


def _token(part: Any) -> str:
    """A token for an object; an address alone would be used again by a later object."""
    with _lock:
        known = _tokens.get(id(part))
        if known is not None and known[0]() is part:
            return known[1]
        token = uuid.uuid4().hex
        try:
            _tokens[id(part)] = (weakref.ref(part), token)
        except TypeError:
            # it cannot be watched: kept alive, so that its address stays its own
            _tokens[id(part)] = (lambda: part, token)
        return token
