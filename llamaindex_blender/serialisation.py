"""Write the parts of a blend as JSON types, and make them again.

LlamaIndex's own loader knows three classes by name. Here the serialised form says the import path of a class, and only
classes of LlamaIndex are imported for it. Any other class must have been imported by the program itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.schema import BaseComponent

from blender_core.errors import ConfigurationError
from blender_core.fuse.llm_fuser import LLMFuser
from blender_core.fuse.policy import FusePolicy
from blender_core.rank.registry import resolve_ranker

__all__ = ["load_part", "write_part"]

_PATH = "class_path"
_IMPORTED = ("llama_index.", "llamaindex_blender.")
# rankers that hold nothing but settings
_LIGHT_RANKERS = ("consensus", "longest", "random")


def write_part(part: Any) -> Any:
    """Convert an LLM, a ranker, a fuser or a fuse policy to JSON types.

    Args:
        part: The part.

    Returns:
        ``None`` and text unchanged. Else a dict with ``class_name``, or the name of a ranker. A part that cannot be
        made again is written as its class and name.

    Examples:
        >>> from llama_index.core.llms import MockLLM
        >>> write_part(MockLLM(max_tokens=2))["class_path"]
        'llama_index.core.llms.mock.MockLLM'
    """
    if part is None or isinstance(part, str):
        return part
    if isinstance(part, BaseComponent):
        return {**part.to_dict(), _PATH: _path(type(part))}
    if isinstance(part, FusePolicy):
        return {"class_name": "FusePolicy", **asdict(part)}
    if isinstance(part, LLMFuser):
        llm = None if part.member is None else getattr(part.member, "llm", part.member)
        limit = part.max_candidate_characters
        return {"class_name": "LLMFuser", "llm": write_part(llm), "name": part.name, "max_candidate_characters": limit}
    for ranker in _LIGHT_RANKERS:
        known = resolve_ranker(ranker)
        if type(part) is type(known) and vars(part) == vars(known):
            return ranker
    name = getattr(part, "name", None) or getattr(part, "__name__", None)
    return {"class_name": type(part).__name__, **({"name": str(name)} if name else {})}


def load_part(part: Any, setting: str) -> Any:
    """Make a part of a blend from its serialised form.

    Args:
        part: What ``write_part`` wrote; anything else is returned unchanged.
        setting: The blend's setting that it belongs to.

    Returns:
        The part.

    Raises:
        ConfigurationError: It cannot be made. Make it yourself and pass it.
    """
    if not isinstance(part, dict):
        return part
    values = {name: value for name, value in part.items() if name != "class_name"}
    name = part.get("class_name")
    try:
        if name == "FusePolicy":
            return FusePolicy(**values)
        if name == "LLMFuser":
            return LLMFuser(load_part(values.pop("llm"), setting), **values)
        return _llm(part)
    except (ImportError, KeyError, TypeError, ValueError) as error:
        given = f"{setting}=[...]" if setting in ("llms", "reserves") else f"{setting}=..."
        raise ConfigurationError(
            f"{setting}: {name!r} cannot be made from its serialised form ({error}); make it yourself and pass it, as "
            f"in BlendedLLM.from_dict(data, {given})"
        ) from error


def _llm(data: Mapping[str, Any]) -> BaseLLM:
    path = data.get(_PATH)
    if not isinstance(path, str):
        # deferred: it imports the OpenAI integration, and that the whole client
        from llama_index.core.llms.loading import load_llm

        return load_llm(dict(data))
    module = path.rpartition(".")[0]
    cls = _known(path)
    if cls is None and module.startswith(_IMPORTED):
        importlib.import_module(module)
        cls = _known(path)
    if cls is None:
        raise ValueError(f"no LLM class {path} is imported; import {module} first")
    return cls.from_dict({name: value for name, value in data.items() if name != _PATH})


def _known(path: str) -> type[BaseLLM] | None:
    waiting = BaseLLM.__subclasses__()
    for cls in waiting:
        if _path(cls) == path:
            return cls
        waiting += cls.__subclasses__()
    return None


def _path(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
